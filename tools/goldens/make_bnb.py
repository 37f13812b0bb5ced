"""NF4 and FP4 with and without double quantization by bitsandbytes on the CPU, and its 8-bit maps.

Run: python make_bnb.py    (writes tests/goldens/bnb: cases.json, <case>.safetensors, maps.safetensors)
"""

import hashlib
import json
import os
import subprocess
import sys

from common import GOLDENS, deterministic, generator, versions, write_json, write_tensors  # first: sets the environment
import bnb_mode  # noqa: F401  (before bitsandbytes: chooses the implementation)
import numpy as np
import torch
from bitsandbytes import functional as F

import four_bit_rule as rule

FOLDER = GOLDENS / "bnb"


def formula(rows: int, columns: int, row_scale: bool = False) -> torch.Tensor:
    """w_i = ((37 i mod 101) - 50) / 64, exact in binary; optionally times 1 + row mod 7."""
    index = torch.arange(rows * columns)
    values = (((index * 37) % 101) - 50).float().div(64).view(rows, columns)
    return values * (1 + torch.arange(rows) % 7).float().view(-1, 1) if row_scale else values


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(generator(50, seed).standard_normal(shape)).float() * 0.05


def outliers() -> torch.Tensor:
    values = normal(1, 8, 64)
    values[1, 5], values[2, 63], values[4, 0], values[6, 32] = 1e4, -37.5, 3.0e38, -0.5
    return values


def zeros() -> torch.Tensor:
    values = normal(2, 5, 96)
    values[0] = 0.0
    values[2, :40] = -0.0
    values[3:] = 0.0
    values[3, 7] = 0.25
    return values  # blocks: all zero, mixed, single value, and a short last block (480 = 7.5 * 64) of zeros


def denormals() -> torch.Tensor:
    values = normal(3, 4, 64)
    values[0] *= 1e-37
    values[1] *= 1e-39  # absmax itself denormal
    values[2, ::2] *= 1e-40  # denormals beside ordinary values
    values[3] = 0.0
    values[3, 3] = torch.tensor(1.401298464324817e-45)  # the smallest float
    return values


def ties(quant_type: str) -> torch.Tensor:
    """Every threshold exactly, one ulp below and one above, in a block of absmax 1 and one of absmax 4."""
    middle = rule.midpoints(quant_type)
    values = np.concatenate([middle, np.nextafter(middle, np.float32(-2)), np.nextafter(middle, np.float32(2))])
    block = np.concatenate([[1.0], values, np.zeros(64 - 1 - values.size)]).astype(np.float32)
    return torch.from_numpy(np.stack([block, block * np.float32(4), -block]))


def cases() -> dict[str, dict]:
    return {
        "formula": dict(input=formula(2, 64), note="quoted vector: w_i = ((37 i mod 101) - 50) / 64"),
        "formula-rows": dict(
            input=formula(300, 64, True), digest=True, note="the same times 1 + row mod 7: two nested blocks"
        ),
        "short-block": dict(input=normal(0, 7, 96), note="blocks cross rows; last block of 32 values"),
        "odd-count": dict(input=normal(4, 5, 37), note="185 values: last byte holds one value and the code of zero"),
        "outliers": dict(input=outliers(), note="one huge value per row flattens its block"),
        "zeros": dict(input=zeros(), note="blocks of zeros, negative zeros, a short last block of zeros"),
        "denormals": dict(input=denormals(), note="absmax near and below the smallest normal float"),
        "ties-nf4": dict(input=ties("nf4"), types=["nf4"], note="thresholds and their neighbours by one ulp"),
        "ties-fp4": dict(input=ties("fp4"), types=["fp4"], note="thresholds and their neighbours by one ulp"),
        "bfloat16-large": dict(
            input=normal(5, 130, 131).bfloat16(), digest=True,
            note="bfloat16 input, 17,030 values, 267 blocks: a second nested block of 11",
        ),
        "block-128": dict(input=normal(6, 6, 128), block=128, note="block size 128"),
    }


def digest(tensor: torch.Tensor) -> str:
    flat = tensor.contiguous().view(torch.uint8) if tensor.dtype == torch.bfloat16 else tensor.contiguous()
    return hashlib.sha256(flat.numpy().tobytes()).hexdigest()


def quantize(values: torch.Tensor, quant_type: str, double: bool, block: int) -> dict[str, torch.Tensor]:
    """The state-dict entries of a bitsandbytes Linear4bit, and the weight dequantized in both float types."""
    packed, state = F.quantize_4bit(values, blocksize=block, quant_type=quant_type, compress_statistics=double)
    entries = {"weight": packed} | {f"weight.{key}": value for key, value in state.as_dict(packed=True).items()}
    absmax = F.dequantize_blockwise(state.absmax, state.state2) + state.offset if double else state.absmax
    # The codes times absmax in float32, spelled out: the AVX-512 path of dequantize_4bit reads wrong scales when a
    # row is a multiple of 16 but not of the block.
    codes = torch.stack([packed.flatten() >> 4, packed.flatten() & 15], 1).flatten()[: values.numel()].long()
    scales = absmax.float().repeat_interleave(block)[: values.numel()]
    dense = (state.code[codes] * scales).view(values.shape)
    return entries | {"dequantized.float32": dense, "dequantized.bfloat16": dense.bfloat16()}


def library_dequantized(values: torch.Tensor, kind: str, block: int) -> str:
    """Digest of what dequantize_4bit itself returns, with negative zeros made positive."""
    packed, state = F.quantize_4bit(
        values, blocksize=block, quant_type=kind.split("-")[0], compress_statistics=kind.endswith("double")
    )
    state.dtype = torch.float32
    return digest(F.dequantize_4bit(packed, state) + 0.0)


def produce() -> dict[str, dict[str, dict[str, torch.Tensor]]]:
    result = {}
    for name, case in cases().items():
        result[name] = {
            quant_type + ("-double" if double else ""): quantize(case["input"], quant_type, double, case.get("block", 64))
            for quant_type in case.get("types", ["nf4", "fp4"])
            for double in (False, True)
        }
    return result


def digests(produced: dict) -> dict:
    inputs = cases()
    return {
        name: {
            kind: {key: digest(value) for key, value in entries.items()}
            | {"dequantize_4bit": library_dequantized(inputs[name]["input"], kind, inputs[name].get("block", 64))}
            for kind, entries in kinds.items()
        }
        for name, kinds in produced.items()
    }


def native_digests() -> dict:
    """What the native library of bitsandbytes gives for the same inputs, from a process of its own."""
    environment = os.environ | {"GOLDENS_BITSANDBYTES": "native"}
    output = subprocess.run(
        [sys.executable, __file__, "--digests"], env=environment, check=True, capture_output=True, text=True
    )
    return json.loads(output.stdout.splitlines()[-1])


def against_rule(values: torch.Tensor, kind: str, block: int, entries: dict[str, torch.Tensor]) -> dict:
    """How many codes and scales the written-down rule (four_bit_rule.py) does not reproduce."""
    quant_type = kind.split("-")[0]
    packed, absmax = rule.quantize(values.float().numpy(), quant_type, block)
    ours = np.stack([packed >> 4, packed & 15], 1).reshape(-1)
    theirs_packed = entries["weight"].numpy().reshape(-1)
    theirs = np.stack([theirs_packed >> 4, theirs_packed & 15], 1).reshape(-1)
    code = rule.CODES[quant_type]
    differs = ours != theirs
    result = {"codes": int(differs.sum()), "codesOfOtherValue": int((code[ours] != code[theirs]).sum())}
    if kind.endswith("double"):
        offset = json.loads(bytes(entries[f"weight.quant_state.bitsandbytes__{quant_type}"].tolist()))["nested_offset"]
        code = entries["weight.nested_quant_map"].numpy()
        nested, nested_absmax = rule.quantize_blockwise(absmax - np.float32(offset), code)
        result["absmaxCodes"] = int((nested != entries["weight.absmax"].numpy()).sum())
        result["nestedAbsmax"] = int((nested_absmax != entries["weight.nested_absmax"].numpy()).sum())
        exact = np.float32(absmax.astype(np.float64).mean())
        result["offsetUlps"] = int(np.abs(np.float32(offset).view(np.int32) - exact.view(np.int32)))
    else:
        result["absmax"] = int((absmax != entries["weight.absmax"].numpy()).sum())
    return result


def stored(name: str, case: dict, key: str) -> bool:
    """Digests stand for what a formula or the stored codes already give; the code tables are kept once."""
    if "quant_map" in key:
        return name == "short-block"
    if name == "formula-rows":
        return "nested_absmax" in key or "quant_state" in key
    return not (case.get("digest") and key.startswith("dequantized"))


def describe(
    kind: str, values: torch.Tensor, block: int, entries: dict, kept: dict, mine: dict, native: dict
) -> dict:
    state = f"weight.quant_state.bitsandbytes__{kind.split('-')[0]}"
    same_zero = digest(entries["dequantized.float32"] + 0.0)
    differs = [key for key in entries if native[key] != mine[key]]
    differs += ["dequantize_4bit"] if native["dequantize_4bit"] != same_zero else []
    assert mine["dequantize_4bit"] == same_zero, kind
    return {
        "quantState": json.loads(bytes(entries[state].tolist())),
        "sha256": {key: mine[key] for key in entries if key not in kept and "quant" not in key},
        "nativeLibraryDiffers": sorted(differs),
        "ruleDiffers": against_rule(values, kind, block, entries),
    }


def maps() -> dict[str, torch.Tensor]:
    return {
        "nf4": F.get_4bit_type("nf4", device="cpu"),
        "fp4": F.get_4bit_type("fp4", device="cpu"),
        "dynamic.signed": F.create_dynamic_map(signed=True),
        "dynamic.unsigned": F.create_dynamic_map(signed=False),
    }


def main() -> None:
    deterministic()
    produced = produce()
    if "--digests" in sys.argv:
        print(json.dumps(digests(produced)))
        return
    mine, native = digests(produced), native_digests()
    document = {}
    for name, case in cases().items():
        values, block, by_formula = case["input"], case.get("block", 64), name.startswith("formula")
        tensors, report = {} if by_formula else {"input": values}, {}
        for kind, entries in produced[name].items():
            kept = {key: value for key, value in entries.items() if stored(name, case, key)}
            if kind == "fp4" and not case.get("digest"):
                packed, _ = rule.quantize(values.float().numpy(), "fp4", block)
                kept["cudaRule.weight"] = torch.from_numpy(packed).view(-1, 1)
            tensors |= {f"{kind}.{key}": value for key, value in kept.items()}
            report[kind] = describe(kind, values, block, entries, kept, mine[name][kind], native[name][kind])
        write_tensors(FOLDER / f"{name}.safetensors", tensors, format="pt")
        document[name] = {
            "note": case["note"], "shape": list(values.shape), "blockSize": block,
            "input": "by formula" if by_formula else "input", "kinds": report,
        }
    write_tensors(FOLDER / "maps.safetensors", maps(), format="pt")
    write_json(FOLDER / "cases.json", {"versions": versions(), "cases": document})
    for name, case in document.items():
        for kind, report in case["kinds"].items():
            print(name, kind, "rule:", report["ruleDiffers"], "native:", report["nativeLibraryDiffers"])


if __name__ == "__main__":
    main()

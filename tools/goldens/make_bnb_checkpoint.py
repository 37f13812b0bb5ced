"""A tiny Qwen3 quantized by transformers' BitsAndBytesConfig and saved, with its logits.

Run: python make_bnb_checkpoint.py    (writes tests/goldens/bnb/qwen3-*; needs tests/goldens/models/qwen3)
"""

import json

from common import GOLDENS, clean_folder, deterministic, round_up, versions, write_json, write_tensors
import torch
from bitsandbytes import functional as F
from bitsandbytes.nn import Linear4bit
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import logging

logging.disable_progress_bar()

BASE = GOLDENS / "models" / "qwen3"
CHECKPOINTS = {
    "qwen3-nf4-double": dict(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True),
    "qwen3-fp4": dict(bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False),
}


def dense_weights(folder) -> dict[str, torch.Tensor]:
    """The checkpoint dequantized from its own file by the written-down layout, float32."""
    state, dense = load_file(folder / "model.safetensors"), {}
    for name, tensor in state.items():
        if tensor.dtype != torch.uint8 and ".weight." not in name:
            dense[name] = tensor.float()
        elif name.endswith(".weight"):
            (key,) = (key for key in state if key.startswith(f"{name}.quant_state."))
            meta = json.loads(bytes(state[key].tolist()))
            absmax = state[f"{name}.absmax"]
            if "nested_absmax" in "".join(key for key in state if key.startswith(f"{name}.")):
                block = torch.arange(absmax.numel()) // meta["nested_blocksize"]
                absmax = state[f"{name}.nested_quant_map"][absmax.long()] * state[f"{name}.nested_absmax"][block]
                absmax = absmax + torch.tensor(meta["nested_offset"], dtype=torch.float32)
            codes = torch.stack([tensor.flatten() >> 4, tensor.flatten() & 15], 1).flatten().long()
            values = state[f"{name}.quant_map"][codes] * absmax.repeat_interleave(meta["blocksize"])[: codes.numel()]
            dense[name] = values.view(meta["shape"])
    return dense


@torch.no_grad()
def logits(model: torch.nn.Module, sequences: list[list[int]]) -> list[torch.Tensor]:
    return [model(torch.tensor([ids])).logits[0].float() for ids in sequences]


def largest(left: list[torch.Tensor], right: list[torch.Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(left, right))


def make(name: str, options: dict, sequences: list[list[int]]) -> None:
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, **options)
    folder = clean_folder(GOLDENS / "bnb" / name)
    quantized = AutoModelForCausalLM.from_pretrained(
        BASE, quantization_config=settings, dtype=torch.float32, attn_implementation="eager", device_map={"": "cpu"}
    ).eval()
    layers = [key for key, module in quantized.named_modules() if isinstance(module, Linear4bit)]
    quantized.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    again = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", device_map={"": "cpu"}
    ).eval()
    for key in layers:
        # Evaluation on a CPU with AVX-512 BF16 repacks the weight for bfloat16 products, whatever the compute dtype,
        # and fails where a row is not a multiple of the block.
        again.get_submodule(key).support_avx512bf16_for_cpu = False

    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()
    original = logits(plain, sequences)
    weights = dense_weights(folder)
    missing = plain.load_state_dict(weights, strict=False)
    assert missing.missing_keys in ([], ["lm_head.weight"]) and not missing.unexpected_keys, missing
    for key in layers:
        module = again.get_submodule(key)
        theirs = F.dequantize_4bit(module.weight.data, module.weight.quant_state)
        assert torch.equal(theirs + 0.0, weights[f"{key}.weight"] + 0.0), f"{key}: the layout is misread"
    dense = logits(plain, sequences)
    library = logits(again, sequences)
    write_tensors(
        GOLDENS / "bnb" / f"{name}.safetensors",
        {f"logits.{index}": value for index, value in enumerate(dense)}, format="pt",
    )
    write_json(GOLDENS / "bnb" / f"{name}.json", {
        "checkpoint": name,
        "quantizedLayers": layers,
        "logits": "float32 forward over the checkpoint's dequantized weights",
        "inputIds": sequences,
        "libraryForwardMinusDequantized": round_up(largest(library, dense)),
        "quantizedMinusOriginal": round(largest(dense, original), 3),
        "versions": versions(),
    })
    print(name, "library", largest(library, dense), "original", largest(dense, original))


def main() -> None:
    deterministic()
    sequences = json.loads((GOLDENS / "logits" / "qwen3.json").read_text())["sequences"]
    chosen = [sequence["inputIds"] for sequence in sequences if len(sequence["inputIds"]) in (1, 9)]
    for name, options in CHECKPOINTS.items():
        make(name, options, chosen)


if __name__ == "__main__":
    main()

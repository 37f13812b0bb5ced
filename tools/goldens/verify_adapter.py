"""Loads what our product saved into transformers, PEFT and bitsandbytes, and compares logits.

  python verify_adapter.py adapter --base BASE --adapter ADAPTER --ids IDS [--merge]
  python verify_adapter.py checkpoint --base FOLDER --ids IDS       a merged or plain checkpoint
  python verify_adapter.py four-bit --base FOLDER --ids IDS         a bitsandbytes 4-bit checkpoint

IDS is a JSON file: a list of id lists, or an object with inputIds, probes.inputIds or sequences[].inputIds.
--write FILE      safetensors with logits.<index> [T, V] float32
--expect FILE     compares with such a file; keys may start with --prefix (default "logits.")
--tolerance X     largest absolute difference allowed (default 1e-4); beyond it the exit code is 1

Prints one JSON object. Keys of the adapter that PEFT does not know, or misses, are an error: PEFT only warns.
"""

import argparse
import json
import pathlib
import sys
import warnings

from common import deterministic, versions
import torch
from peft import PeftConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

logging.disable_progress_bar()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("adapter", "checkpoint", "four-bit"))
    parser.add_argument("--base", type=pathlib.Path, required=True)
    parser.add_argument("--adapter", type=pathlib.Path)
    parser.add_argument("--merge", action="store_true", help="merge_and_unload before the forward pass")
    parser.add_argument("--ids", type=pathlib.Path, required=True)
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--expect", type=pathlib.Path)
    parser.add_argument("--prefix", default="logits.")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    if (options.kind == "adapter") != (options.adapter is not None):
        parser.error("--adapter goes with the kind 'adapter', and only with it")
    return options


def sequences(path: pathlib.Path) -> list[list[int]]:
    value = json.loads(path.read_text())
    if isinstance(value, dict) and "sequences" in value:
        return [sequence["inputIds"] for sequence in value["sequences"]]
    if isinstance(value, dict):
        return value["inputIds"] if "inputIds" in value else value["probes"]["inputIds"]
    return value


def load(folder: pathlib.Path, **options: object) -> torch.nn.Module:
    model, report = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **options
    )
    faults = {key: sorted(map(str, report[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
    if any(faults.values()):
        fail("the checkpoint does not fit its config", faults)
    return model.eval()


def fail(message: str, details: object) -> None:
    print(json.dumps({"ok": False, "error": message, "details": details}))
    sys.exit(1)


def check_keys(base: torch.nn.Module, adapter: pathlib.Path) -> int:
    """The adapter's file holds every tensor its config asks for, in shape, and nothing else."""
    config = PeftConfig.from_pretrained(adapter)
    model = get_peft_model(base, config)
    state = load_file(adapter / "adapter_model.safetensors")
    try:
        report = set_peft_model_state_dict(model, state)
    except RuntimeError as error:
        fail("PEFT refuses the adapter's shapes", str(error))
    # PEFT's report lists every base weight as missing, so only the adapter's own tensors count.
    missing = [key for key in report.missing_keys if ".lora_" in key or "modules_to_save" in key]
    if missing or report.unexpected_keys:
        fail("PEFT reads the adapter only in part", {"missing": missing, "unexpected": report.unexpected_keys})
    return len(state)


def four_bit(folder: pathlib.Path) -> tuple[torch.nn.Module, int]:
    from bitsandbytes.nn import Linear4bit

    model = load(folder, device_map={"": "cpu"})
    layers = [module for module in model.modules() if isinstance(module, Linear4bit)]
    for layer in layers:
        layer.support_avx512bf16_for_cpu = False  # that path multiplies in bfloat16 and needs rows of whole blocks
        layer.compute_dtype, layer.compute_type_is_set = torch.float32, True
    if not layers:
        fail("no 4-bit layer was found", {"folder": str(folder)})
    return model, len(layers)


def main() -> None:
    options = arguments()
    deterministic()
    warnings.simplefilter("ignore")
    result: dict[str, object] = {"ok": True, "kind": options.kind, "versions": versions()}
    if options.kind == "adapter":
        result["adapterTensors"] = check_keys(load(options.base), options.adapter)
        model = PeftModel.from_pretrained(load(options.base), options.adapter).eval()
        model = model.merge_and_unload(safe_merge=True) if options.merge else model
    elif options.kind == "four-bit":
        model, result["fourBitLayers"] = four_bit(options.base)
    else:
        model = load(options.base)
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0].float() for ids in sequences(options.ids)]
    result["sequences"] = len(logits)
    if options.write:
        tensors = {f"logits.{index}": value.contiguous() for index, value in enumerate(logits)}
        save_file(tensors, options.write, metadata={"format": "pt"})
    if options.expect:
        expected = load_file(options.expect)
        differences = [
            float((value - expected[f"{options.prefix}{index}"]).abs().max()) for index, value in enumerate(logits)
        ]
        result |= {"largestDifference": max(differences), "tolerance": options.tolerance}
        result["ok"] = max(differences) <= options.tolerance
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()

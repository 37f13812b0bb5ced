"""LoRA adapters as PEFT saves them, logits with them and merged, and the first ten losses of plain training.

Run: python make_peft.py    (writes tests/goldens/peft; needs tests/goldens/models)
"""

import json
import pathlib

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from common import GOLDENS, clean_folder, deterministic, generator, round_up, versions, write_json, write_tensors
from training import IGNORED, STEPS, Run, conventions, train

logging.disable_progress_bar()

FOLDER = GOLDENS / "peft"
LORA = dict(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.0, bias="none")
CASES: dict[str, dict] = {
    "lora-all-linear": dict(base="qwen3", lora=LORA | dict(target_modules="all-linear"), trained=True),
    "lora-q-v": dict(base="qwen2", lora=LORA | dict(target_modules=["q_proj", "v_proj"]), trained=True),
    "rslora": dict(
        base="qwen3", lora=LORA | dict(target_modules=["k_proj", "o_proj", "gate_proj"], use_rslora=True),
        trained=True,
    ),
    "lora-patterns": dict(
        base="qwen3",
        lora=LORA | dict(
            target_modules=["q_proj", "down_proj"], rank_pattern={"down_proj": 4},
            alpha_pattern={"layers.1.self_attn.q_proj": 24},
        ),
        trained=False,
    ),
}
# (length, ranges of unmasked labels): a prompt and an answer, plain text, two answers, a short answer.
ROWS = ((17, ((9, 17),)), (9, ((0, 9),)), (24, ((4, 9), (15, 24))), (13, ((10, 13),)))
PROBES = (5, 12)


def load(base: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    folder = GOLDENS / "models" / base
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def rows(vocabulary: int) -> list[dict]:
    random = generator(40, vocabulary)
    result = []
    for length, spans in ROWS:
        ids = [int(token) for token in random.integers(3, vocabulary, length)]
        kept = {index for start, end in spans for index in range(start, end)}
        labels = [token if index in kept else IGNORED for index, token in enumerate(ids)]
        result.append({"inputIds": ids, "labels": labels})
    return result


def save(model: PeftModel, folder: pathlib.Path, base: str) -> None:
    """PEFT's own files, with what varies between machines made constant (paths, order of a set)."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def perturb(model: PeftModel, *seed: int) -> None:
    """A non-zero B, large enough that the adapter changes logits by more than any tolerance."""
    random = generator(*seed)
    for name, parameter in sorted(model.named_parameters()):
        if "lora_B" in name:
            values = torch.from_numpy(random.standard_normal(tuple(parameter.shape))).float()
            parameter.data.copy_(0.1 * values)


@torch.no_grad()
def logits(model: torch.nn.Module, sequences: list[list[int]]) -> list[torch.Tensor]:
    return [model(torch.tensor([ids])).logits[0].float() for ids in sequences]


def steps(data: list[dict], micro_batches: int) -> list[list[dict]]:
    return [[data[(step * micro_batches + k) % len(data)] for k in range(micro_batches)] for step in range(STEPS)]


def describe(run: Run, exact: Run) -> dict:
    return {
        "losses": run.losses,
        "gradientNorms": run.gradient_norms,
        "targetTokens": run.tokens,
        "lossesFloat64": exact.losses,
        "largestLossDifference": round_up(max(abs(a - b) for a, b in zip(run.losses, exact.losses))),
    }


def final_difference(model: torch.nn.Module, exact: torch.nn.Module, before: dict[str, torch.Tensor]) -> dict:
    """How far float32 rounding alone moves the end of training.

    Adam divides by the root of the second moment, so an element whose true gradient is zero (keys may shift by a
    constant under softmax) moves by the sign of its rounding error: compare norms, not elements.
    """
    other = dict(exact.named_parameters())
    trained = {name: value.detach().double() for name, value in model.named_parameters() if value.requires_grad}
    difference = {name: value - other[name].detach().double() for name, value in trained.items()}
    moved = sum(float((value - before[name].double()).square().sum()) for name, value in trained.items())
    return {
        "largestFinalDifference": round_up(max(float(value.abs().max()) for value in difference.values())),
        "relativeFinalDifference": round_up(
            (sum(float(value.square().sum()) for value in difference.values()) / moved) ** 0.5
        ),
    }


def snapshot(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}


def adapter_run(base: str, initial: pathlib.Path, data: list[dict], micro_batches: int) -> tuple[PeftModel, dict]:
    model = PeftModel.from_pretrained(load(base), initial, is_trainable=True)
    exact = PeftModel.from_pretrained(load(base), initial, is_trainable=True).double()
    plan, before = steps(data, micro_batches), snapshot(model)
    result = describe(train(model, plan), train(exact, plan))
    return model, result | final_difference(model, exact, before)


def make(index: int, name: str, case: dict) -> None:
    folder = clean_folder(FOLDER / name)
    base = case["base"]
    torch.manual_seed(1000 + index)
    model = get_peft_model(load(base), LoraConfig(**case["lora"])).eval()
    vocabulary = model.config.vocab_size
    data = rows(vocabulary)
    golden = {"base": base, "conventions": conventions(), "seed": 1000 + index, "rows": data}

    if case["trained"]:
        save(model, folder / "initial", base)
        trained, single = adapter_run(base, folder / "initial", data, 1)
        save(trained, folder / "final", base)
        golden["single"] = {"microBatches": 1, "rowOfStep": "step % 4", "final": "final", **single}
        if name == "lora-all-linear":
            _, twice = adapter_run(base, folder / "initial", data, 2)
            rows_of_step = "(2 * step) % 4 and (2 * step + 1) % 4"
            golden["accumulated"] = {"microBatches": 2, "rowsOfStep": rows_of_step, **twice}

    perturb(model, 41, index)
    save(model, folder / "perturbed", base)
    random = generator(42, index)
    sequences = [[int(token) for token in random.integers(3, vocabulary, length)] for length in PROBES]
    with_adapter = logits(model, sequences)
    without = logits(load(base), sequences)
    merged_model = model.merge_and_unload()
    merged = logits(merged_model, sequences)
    weight = "model.layers.0.self_attn.q_proj.weight"
    write_tensors(
        folder / "logits.safetensors",
        {f"adapter.{k}": value for k, value in enumerate(with_adapter)}
        | {f"merged.{k}": value for k, value in enumerate(merged)}
        | {f"merged.{weight}": merged_model.state_dict()[weight]},
        format="pt",
    )
    golden["probes"] = {
        "adapter": "perturbed",
        "inputIds": sequences,
        "adapterMinusBase": round(max(float((a - b).abs().max()) for a, b in zip(with_adapter, without)), 3),
        "adapterMinusMerged": round_up(max(float((a - b).abs().max()) for a, b in zip(with_adapter, merged))),
    }
    golden["versions"] = versions()
    write_json(folder / "golden.json", golden)
    print(name, golden["probes"]["adapterMinusBase"], golden.get("single", {}).get("losses"))


def full_fine_tune(base: str) -> None:
    """Every weight trained, tied head included. The final tensors of one of each kind are kept."""
    folder = clean_folder(FOLDER / "full")
    model, exact = load(base), load(base, torch.float64)
    data = rows(model.config.vocab_size)
    plan, before = steps(data, 1), snapshot(model)
    result = describe(train(model, plan), train(exact, plan)) | final_difference(model, exact, before)
    kept = (
        "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight",
        "model.layers.1.self_attn.k_norm.weight", "model.layers.0.input_layernorm.weight", "model.norm.weight",
    )
    state = model.state_dict()
    write_tensors(folder / "final.safetensors", {name: state[name] for name in kept}, format="pt")
    write_json(folder / "golden.json", {
        "base": base, "conventions": conventions(), "rows": data,
        "single": {"microBatches": 1, "rowOfStep": "step % 4", "final": "final.safetensors", **result},
        "versions": versions(),
    })
    print("full", result["losses"], result["largestFinalDifference"])


def main() -> None:
    deterministic()
    clean_folder(FOLDER)
    for index, (name, case) in enumerate(CASES.items()):
        make(index, name, case)
    full_fine_tune("qwen3")


if __name__ == "__main__":
    main()

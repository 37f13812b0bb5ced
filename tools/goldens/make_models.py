"""Tiny random checkpoints of every decoder family we support, their logits and greedy continuations.

Run: python make_models.py    (writes tests/goldens/models and tests/goldens/logits)
"""

import copy
import json

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

from common import GOLDENS, clean_folder, deterministic, generator, round_up, versions, write_json, write_tensors
from make_rope_tables import rope

logging.disable_progress_bar()

EOS = 2
PROMPT_LENGTHS = (1, 4, 9, 37)
NEW_TOKENS = 24
MINIMUM_GAP = 5e-3  # nats between the two best logits at each greedy step: 50 times our parity tolerance

COMMON = dict(
    bos_token_id=1,
    eos_token_id=EOS,
    max_position_embeddings=128,
    attention_dropout=0.0,
)


SPECIFICATIONS: dict[str, dict] = {
    "llama": dict(
        config=LlamaConfig(
            vocab_size=263, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, rms_norm_eps=1e-5, tie_word_embeddings=False,
            rope_parameters=rope(10000.0), **COMMON,
        ),
    ),
    "llama-llama3-rope": dict(
        # theta 500, head_dim 16 and 64 original positions reach all three llama3 bands (keep, blend, divide).
        config=LlamaConfig(
            vocab_size=257, hidden_size=48, intermediate_size=88, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, rms_norm_eps=1e-5, tie_word_embeddings=True,
            rope_parameters=rope(
                500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
            **COMMON,
        ),
    ),
    "mistral": dict(
        config=MistralConfig(
            vocab_size=259, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, sliding_window=8, rms_norm_eps=1e-5, tie_word_embeddings=False,
            rope_parameters=rope(10000.0), **COMMON,
        ),
    ),
    "qwen2": dict(
        config=Qwen2Config(
            vocab_size=271, hidden_size=48, intermediate_size=100, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, rms_norm_eps=1e-6, tie_word_embeddings=True, use_sliding_window=False,
            rope_parameters=rope(1000000.0), **COMMON,
        ),
        variants={"window": dict(use_sliding_window=True, sliding_window=8, max_window_layers=1)},
    ),
    "qwen3": dict(
        config=Qwen3Config(
            vocab_size=266, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=True,
            rope_parameters=rope(1000000.0), **COMMON,
        ),
    ),
    "qwen3-yarn": dict(
        config=Qwen3Config(
            vocab_size=256, hidden_size=32, intermediate_size=72, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, head_dim=32, rms_norm_eps=1e-6, tie_word_embeddings=True,
            rope_parameters=rope(10000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=32),
            **COMMON,
        ),
    ),
    "qwen3-bf16": dict(
        config=Qwen3Config(
            vocab_size=256, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=1, head_dim=16, rms_norm_eps=1e-6, tie_word_embeddings=False,
            rope_parameters=rope(1000000.0), **COMMON,
        ),
        dtype=torch.bfloat16,
    ),
    "llama-sharded": dict(
        config=LlamaConfig(
            vocab_size=256, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=2, rms_norm_eps=1e-6, tie_word_embeddings=False, attention_bias=True, mlp_bias=True,
            rope_parameters=rope(10000.0), **COMMON,
        ),
        max_shard_size="40KB",
    ),
}


def fill(model: torch.nn.Module, *seed: int) -> None:
    """Weights wide enough for informative logits; norms around one, biases of visible size."""
    random = generator(*seed)
    for name, parameter in sorted(model.named_parameters()):
        values = torch.from_numpy(random.standard_normal(tuple(parameter.shape))).float()
        if name.endswith("norm.weight") or "layernorm" in name:
            values = 1.0 + 0.2 * values
        elif name.endswith(".bias"):
            values = 0.2 * values
        elif "embed_tokens" in name or "lm_head" in name:
            values = 0.2 * values
        elif "o_proj" in name or "down_proj" in name:
            values = 0.25 * values  # layers outweigh the embedding, or a tied head would only echo the last token
        else:
            values = 0.15 * values
        parameter.data.copy_(values)


@torch.no_grad()
def greedy(model: torch.nn.Module, prompt: list[int]) -> tuple[list[int], float]:
    """Argmax by full forward passes (no cache): the continuation and its smallest gap of the two best logits."""
    ids, smallest = list(prompt), float("inf")
    for _ in range(NEW_TOKENS):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        smallest = min(smallest, float(best.values[0] - best.values[1]))
        ids.append(int(best.indices[0]))
    return ids[len(prompt):], smallest


def sturdy(continuations: list[tuple[list[int], float]]) -> bool:
    """No near ties, no end of sequence, not one token over and over."""
    return all(
        gap >= MINIMUM_GAP and EOS not in tokens and len(set(tokens)) >= 6 for tokens, gap in continuations
    )


def prompts(vocabulary: int, *seed: int) -> list[list[int]]:
    random = generator(*seed)
    return [[int(token) for token in random.integers(3, vocabulary, length)] for length in PROMPT_LENGTHS]


def plain(config) -> object:
    config = copy.deepcopy(config)
    config._attn_implementation = "eager"
    return config


def legacy(config: dict) -> dict:
    """The same config in the keys of transformers 4: rope_theta, rope_scaling, torch_dtype."""
    config = dict(config)
    parameters = dict(config.pop("rope_parameters"))
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = None if parameters["rope_type"] == "default" else parameters
    if parameters["rope_type"] == "yarn":
        config["rope_scaling"]["type"] = config["rope_scaling"].pop("rope_type")  # the oldest spelling
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)  # derived from use_sliding_window and max_window_layers in older files
    if config.get("head_dim") == config["hidden_size"] // config["num_attention_heads"]:
        config.pop("head_dim")  # older files leave it to be derived
    config["transformers_version"] = "4.51.0"
    return dict(sorted(config.items()))


def noise(model: torch.nn.Module, sequences: list[list[int]], logits: list[torch.Tensor]) -> float:
    """Largest difference of the f32 logits from a float64 forward: the floor under any parity tolerance.

    Rotary tables and norms stay f32 inside transformers, so this is a lower bound of what f64 would differ by.
    """
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        return max(
            float((exact(torch.tensor([ids])).logits[0] - reference.double()).abs().max())
            for ids, reference in zip(sequences, logits)
        )


def record(name: str, model: torch.nn.Module, sequences: list[list[int]], seed: list[int], extra: dict) -> None:
    """Writes logits/<name>.{json,safetensors} after checking generate() and sdpa against the plain loop."""
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0].float() for ids in sequences]
        continuations = [greedy(model, ids) for ids in sequences]
        settings = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, eos_token_id=EOS, pad_token_id=0)
        for ids, (tokens, _) in zip(sequences, continuations):
            generated = model.generate(torch.tensor([ids]), generation_config=settings)[0].tolist()
            assert generated == ids + tokens, f"{name}: generate() with its cache differs from the plain loop"
        model.set_attn_implementation("sdpa")
        sdpa = max(
            float((model(torch.tensor([ids])).logits[0] - reference).abs().max())
            for ids, reference in zip(sequences, logits)
        )
        model.set_attn_implementation("eager")
    assert sdpa < 5e-5, f"{name}: eager and sdpa differ by {sdpa}"
    tensors = {f"logits.{index}": value for index, value in enumerate(logits)}
    write_tensors(GOLDENS / "logits" / f"{name}.safetensors", tensors, format="pt")
    write_json(GOLDENS / "logits" / f"{name}.json", {
        "model": name.split(".")[0],
        **extra,
        "attention": "eager, float32, one sequence at a time, no padding",
        "seed": seed,
        "sequences": [
            {"inputIds": ids, "greedy": tokens, "smallestGap": round(gap, 5)}
            for ids, (tokens, gap) in zip(sequences, continuations)
        ],
        "largestLogit": round(max(float(value.abs().max()) for value in logits), 3),
        "eagerMinusSdpa": round_up(sdpa),
        "float32MinusFloat64": round_up(noise(model, sequences, logits)),
        "versions": versions(),
    })


def make(index: int, name: str, specification: dict) -> None:
    config = specification["config"]
    dtype = specification.get("dtype", torch.float32)
    variants = specification.get("variants", {})
    for attempt in range(200):
        seed = [index, attempt]
        model = AutoModelForCausalLM.from_config(plain(config)).eval()
        fill(model, *seed)
        stored = copy.deepcopy(model).to(dtype)
        model.load_state_dict(stored.state_dict())  # rounds through the stored dtype; the compute stays float32
        sequences = prompts(config.vocab_size, *seed, 1)
        others = {key: variant_model(config, changes, model) for key, changes in variants.items()}
        if all(sturdy([greedy(each, ids) for ids in sequences]) for each in (model, *others.values())):
            break
    else:
        raise RuntimeError(f"{name}: no seed gives a sturdy greedy continuation")

    folder = clean_folder(GOLDENS / "models" / name)
    stored.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=EOS, do_sample=False)
    stored.save_pretrained(folder, max_shard_size=specification.get("max_shard_size", "1GB"))
    saved = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.legacy.json", legacy(saved))
    record(name, model, sequences, seed, {})
    for key, other in others.items():
        changed = dict(saved) | variants[key] | {"layer_types": other.config.layer_types}
        write_json(folder / f"config.{key}.json", changed)
        record(f"{name}.{key}", other, sequences, seed, {"config": f"config.{key}.json"})
    check(name, folder, sequences, model)
    print(name, "seed", seed, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


def variant_model(config, changes: dict, model: torch.nn.Module) -> torch.nn.Module:
    values = plain(config).to_dict() | changes
    values.pop("layer_types", None)
    changed = type(config)(**values)
    changed._attn_implementation = "eager"
    other = AutoModelForCausalLM.from_config(changed).eval()
    other.load_state_dict(model.state_dict())
    return other


def check(name: str, folder, sequences: list[list[int]], model: torch.nn.Module) -> None:
    """The saved folder and the legacy config both load and give the same logits."""
    reload = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    old = AutoConfig.for_model(**json.loads((folder / "config.legacy.json").read_text()))
    read = {key: value for key, value in old.rope_parameters.items() if key != "type"}
    assert read == model.config.rope_parameters, (name, read)
    old._attn_implementation = "eager"
    same = AutoModelForCausalLM.from_config(old).float().eval()
    same.load_state_dict(reload.state_dict())
    with torch.no_grad():
        for ids in sequences:
            expected = model(torch.tensor([ids])).logits
            assert torch.equal(reload(torch.tensor([ids])).logits, expected), name
            assert torch.equal(same(torch.tensor([ids])).logits, expected), name


def main() -> None:
    deterministic()
    clean_folder(GOLDENS / "logits")
    clean_folder(GOLDENS / "models")
    for index, (name, specification) in enumerate(SPECIFICATIONS.items()):
        make(index, name, specification)


if __name__ == "__main__":
    main()

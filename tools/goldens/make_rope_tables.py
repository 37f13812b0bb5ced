"""Rotary frequencies of every rope type we read, as transformers derives them.

Run: python make_rope_tables.py    (writes tests/goldens/logits/rope-tables.json; make_models.py first)
"""

import copy

from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from common import GOLDENS, deterministic, versions, write_json


def rope(theta: float, **scaling: object) -> dict[str, object]:
    return {"rope_type": "default", "rope_theta": theta} | scaling


ROPE_CASES: list[dict] = [
    dict(head_dim=16, parameters=rope(10000.0)),
    dict(head_dim=128, parameters=rope(1000000.0)),
    dict(head_dim=64, parameters=rope(10000.0, rope_type="linear", factor=2.5)),
    dict(head_dim=64, parameters=rope(500000.0, rope_type="llama3", factor=32.0, low_freq_factor=1.0,
                                      high_freq_factor=4.0, original_max_position_embeddings=8192)),
    dict(head_dim=16, parameters=rope(500.0, rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                      high_freq_factor=4.0, original_max_position_embeddings=64)),
    dict(head_dim=128, parameters=rope(1000000.0, rope_type="yarn", factor=4.0,
                                       original_max_position_embeddings=32768)),
    dict(head_dim=32, parameters=rope(10000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=32)),
    dict(head_dim=64, parameters=rope(10000.0, rope_type="yarn", factor=8.0, original_max_position_embeddings=2048,
                                      beta_fast=16.0, beta_slow=2.0, truncate=False)),
    dict(head_dim=64, parameters=rope(10000.0, rope_type="yarn", factor=40.0, original_max_position_embeddings=4096,
                                      mscale=1.0, mscale_all_dim=0.7)),
    dict(head_dim=64, parameters=rope(10000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=4096,
                                      attention_factor=1.25)),
]


def rope_tables() -> None:
    """inv_freq [head_dim / 2] and the factor on cos and sin, as transformers derives them from each config."""
    cases = []
    for case in ROPE_CASES:
        parameters = copy.deepcopy(case["parameters"])
        original = parameters.get("original_max_position_embeddings", 4096)
        maximum = int(original * parameters.get("factor", 1.0))
        config = LlamaConfig(
            hidden_size=case["head_dim"] * 2, num_attention_heads=2, head_dim=case["head_dim"],
            max_position_embeddings=maximum, rope_parameters=parameters,
        )
        rotary = LlamaRotaryEmbedding(config)
        cases.append({
            "headDimension": case["head_dim"],
            "maxPositionEmbeddings": maximum,
            "ropeParameters": case["parameters"],
            "inverseFrequencies": [float(value) for value in rotary.inv_freq],
            "attentionFactor": float(rotary.attention_scaling),
        })
    write_json(GOLDENS / "logits" / "rope-tables.json", {"versions": versions(), "cases": cases})


if __name__ == "__main__":
    deterministic()
    rope_tables()

"""Four steps of bitsandbytes' 8-bit AdamW on the CPU: parameters, codes and block scales.

Run: python make_adamw8bit.py    (writes tests/goldens/bnb/adamw8bit.{json,safetensors})
"""

from common import GOLDENS, deterministic, versions, write_json, write_tensors  # first: sets the environment
import bnb_mode  # noqa: F401  (before bitsandbytes: chooses the implementation)
import bitsandbytes
import torch

SHAPE = (11, 419)  # 4,609 values: eighteen blocks of 256 and one value; from 4,096 on states are 8-bit
STEPS = 4
KEPT = (1, 4)
SETTINGS = dict(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01)


def initial() -> torch.Tensor:
    index = torch.arange(SHAPE[0] * SHAPE[1])
    return (((index * 29) % 97) - 48).float().div(128).view(SHAPE)


def gradient(step: int) -> torch.Tensor:
    """Exact in binary: ((37 i + 53 step) mod 101 - 50) / 64 * 2^-(block mod 9); block 3 is all zero."""
    index = torch.arange(SHAPE[0] * SHAPE[1])
    block = index // 256
    values = (((index * 37 + step * 53) % 101) - 50).float().div(64) * torch.pow(2.0, -(block % 9).float())
    return torch.where(block == 3, torch.zeros_like(values), values).view(SHAPE)


def main() -> None:
    deterministic()
    parameter = torch.nn.Parameter(initial())
    optimizer = bitsandbytes.optim.AdamW8bit([parameter], **SETTINGS)
    exact = torch.nn.Parameter(initial().double())
    reference = torch.optim.AdamW([exact], foreach=False, **SETTINGS)
    tensors, distance = {}, {}
    for step in range(1, STEPS + 1):
        parameter.grad, exact.grad = gradient(step), gradient(step).double()
        optimizer.step()
        reference.step()
        distance[str(step)] = float((parameter.detach().double() - exact.detach()).abs().max())
        if step in KEPT:
            state = optimizer.state[parameter]
            tensors[f"step{step}.parameter"] = parameter
            for name in ("state1", "state2", "absmax1", "absmax2"):
                tensors[f"step{step}.{name}"] = state[name]
    folder = GOLDENS / "bnb"
    write_tensors(folder / "adamw8bit.safetensors", tensors, format="pt")
    write_json(folder / "adamw8bit.json", {
        "shape": list(SHAPE), "blockSize": 256, "minimumSize": 4096,
        "learningRate": SETTINGS["lr"], "betas": list(SETTINGS["betas"]), "epsilon": SETTINGS["eps"],
        "weightDecay": SETTINGS["weight_decay"], "steps": STEPS, "keptSteps": list(KEPT),
        "initial": "((29 i mod 97) - 48) / 128",
        "gradient": "((37 i + 53 step) mod 101 - 50) / 64 * 2^-(floor(i / 256) mod 9), step from 1; block 3 is zero",
        "states": "state1 = first moment by maps.safetensors dynamic.signed, state2 = second by dynamic.unsigned",
        "order": [
            "dequantize: map[code] * absmax[i // 256]",
            "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2",
            "p = p (1 - lr wd); p -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)",
            "quantize: absmax per block; code = nearest by midpoint of x * (1 / absmax), ties to the lower code",
        ],
        "largestDistanceFromExactAdamW": {step: round(value, 6) for step, value in distance.items()},
        "versions": versions(),
    })
    print(distance)


if __name__ == "__main__":
    main()

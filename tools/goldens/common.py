"""Shared by the golden scripts: paths, determinism, stable files."""

import json
import os
import pathlib
import platform
import shutil
from importlib.metadata import version

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import numpy as np
import torch
from safetensors.torch import save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = REPOSITORY / "tests" / "goldens"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "safetensors", "numpy")


def deterministic() -> None:
    """One thread and no nondeterministic kernels, so that two runs on one machine give the same bytes."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.mkldnn.enabled = False  # oneDNN picks kernels by CPU model; the plain path varies less
    torch.manual_seed(0)


def generator(*seed: int) -> np.random.Generator:
    """A Philox stream of its own per seed tuple: independent of torch's version and of call order."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed)))


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def clean_folder(path: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def write_json(path: pathlib.Path, value: object) -> None:
    """Two-space JSON with lists of numbers on one line, so that ids do not fill the screen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_render(value, 0) + "\n")


def _render(value: object, depth: int) -> str:
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(str(key))}: {_render(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        rows = [pad + _render(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(rows) + "\n" + "  " * depth + "]"
    return json.dumps(value, ensure_ascii=False)


def write_tensors(path: pathlib.Path, tensors: dict[str, torch.Tensor], **metadata: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, path, metadata=metadata)
    path.chmod(0o644)


def round_up(value: float) -> float:
    """Two significant digits, upwards: noise figures that do not change with every machine's last bit."""
    if value == 0:
        return 0.0
    scale = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(f"{np.ceil(value / scale) * scale:.1e}")

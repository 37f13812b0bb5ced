"""Ten training losses of LoRA over a bitsandbytes NF4 base in PEFT: QLoRA with float32 compute.

Run: python make_qlora.py    (writes tests/goldens/peft/qlora; needs make_peft.py and make_bnb_checkpoint.py first)
"""

from common import GOLDENS, clean_folder, deterministic, versions, write_json
import torch
from bitsandbytes.nn import Linear4bit
from peft import PeftModel
from transformers import AutoModelForCausalLM

from make_bnb_checkpoint import dense_weights
from make_peft import FOLDER, describe, final_difference, load, rows, save, snapshot, steps
from training import conventions, train

CHECKPOINT = "qwen3-nf4-double"
INITIAL = FOLDER / "lora-all-linear" / "initial"


def quantized() -> torch.nn.Module:
    folder = GOLDENS / "bnb" / CHECKPOINT
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", device_map={"": "cpu"}
    ).eval()
    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False  # keep the float32 product
    return model


def dense(dtype: torch.dtype) -> torch.nn.Module:
    model = load("qwen3")
    model.load_state_dict(dense_weights(GOLDENS / "bnb" / CHECKPOINT), strict=False)
    return model.to(dtype)


def main() -> None:
    deterministic()
    folder = clean_folder(FOLDER / "qlora")
    model = PeftModel.from_pretrained(quantized(), INITIAL, is_trainable=True)
    exact = PeftModel.from_pretrained(dense(torch.float32), INITIAL, is_trainable=True).double()
    data = rows(model.config.vocab_size)
    plan, before = steps(data, 1), snapshot(model)
    result = describe(train(model, plan), train(exact, plan)) | final_difference(model, exact, before)
    save(model, folder / "final", CHECKPOINT)
    write_json(folder / "golden.json", {
        "base": f"bnb/{CHECKPOINT}", "initial": "lora-all-linear/initial",
        "conventions": conventions() | {"base": "NF4 with double quantization, dequantized to float32 for each product"},
        "rows": data,
        "single": {"microBatches": 1, "rowOfStep": "step % 4", "final": "final", **result},
        "versions": versions(),
    })
    print("qlora", result)


if __name__ == "__main__":
    main()

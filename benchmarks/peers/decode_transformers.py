"""Prefill and decode of transformers' `generate` at batch 1: '<json>' -> hello, then one answer per line asked."""

import json
import os
import sys
import time

request = json.loads(sys.argv[1])

import torch  # noqa: E402

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

import transformers  # noqa: E402

transformers.logging.set_verbosity_error()
dtype = getattr(torch, request["dtype"])
model = transformers.AutoModelForCausalLM.from_pretrained(request["folder"], dtype=dtype, attn_implementation="sdpa")
model.eval()
prompt = torch.tensor([request["prompt"]])


def generate(count):
    start = time.perf_counter()
    out = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=count,
        min_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    return time.perf_counter() - start, out[0, prompt.shape[1] :].tolist()


versions = {"torch": torch.__version__, "transformers": transformers.__version__}
print(json.dumps({"versions": versions}), flush=True)
with torch.inference_mode():
    for _ in sys.stdin:
        prefill, _ = generate(1)
        total, ids = generate(request["newTokens"])
        seconds = total - prefill
        print(json.dumps({"prefillSeconds": prefill, "decodeSeconds": seconds, "ids": ids}), flush=True)

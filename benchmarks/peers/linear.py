"""Matrix products of torch, one question per line: {dtype, m, n, k, direction, seconds} -> {seconds, repeats}."""

import json
import os
import sys
import time

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
print(json.dumps({"versions": {"torch": torch.__version__}}), flush=True)

case = None
with torch.inference_mode():
    for line in sys.stdin:
        ask = json.loads(line)
        key = (ask["dtype"], ask["m"], ask["n"], ask["k"], ask["direction"])
        if key != case:
            dtype = getattr(torch, ask["dtype"])
            generator = torch.Generator().manual_seed(1)
            columns = ask["k"] if ask["direction"] == "forward" else ask["n"]
            x = torch.randn(ask["m"], columns, generator=generator).to(dtype)
            weight = torch.randn(ask["n"], ask["k"], generator=generator).to(dtype)
            run = (lambda: torch.nn.functional.linear(x, weight)) if ask["direction"] == "forward" else (lambda: x @ weight)
            run()
            run()
            case = key
        repeats = 0
        start = time.perf_counter()
        while True:
            run()
            repeats += 1
            seconds = time.perf_counter() - start
            if seconds >= ask["seconds"]:
                break
        print(json.dumps({"seconds": seconds, "repeats": repeats}), flush=True)

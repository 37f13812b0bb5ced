"""Prefill and greedy decode of llama.cpp at batch 1 by its C API: '<json>' -> hello, then one answer per line asked."""

import ctypes
import json
import os
import sys
import time

import llama_cpp
import numpy

request = json.loads(sys.argv[1])
threads = int(os.environ["OMP_NUM_THREADS"])


@llama_cpp.llama_log_callback
def silent(_level, _text, _data):
    pass


llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
llama_cpp.llama_backend_init()
model = llama_cpp.llama_model_load_from_file(request["model"].encode(), llama_cpp.llama_model_default_params())
if not model:
    raise SystemExit(f"llama.cpp cannot load {request['model']}")
parameters = llama_cpp.llama_context_default_params()
parameters.n_ctx = len(request["prompt"]) + request["newTokens"]
parameters.n_batch = len(request["prompt"])
parameters.n_ubatch = min(512, len(request["prompt"]))
parameters.n_threads = threads
parameters.n_threads_batch = threads
context = llama_cpp.llama_init_from_model(model, parameters)
vocabulary = request["vocabulary"]


def evaluate(ids):
    tokens = (llama_cpp.llama_token * len(ids))(*ids)
    if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(tokens, len(ids))) != 0:
        raise SystemExit("llama.cpp could not evaluate the tokens")
    logits = llama_cpp.llama_get_logits_ith(context, -1)
    return int(numpy.ctypeslib.as_array(logits, shape=(vocabulary,)).argmax())


print(json.dumps({"versions": {"llama-cpp-python": llama_cpp.__version__}}), flush=True)
for _ in sys.stdin:
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    start = time.perf_counter()
    ids = [evaluate(request["prompt"])]
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    while len(ids) < request["newTokens"]:
        ids.append(evaluate([ids[-1]]))
    print(json.dumps({"prefillSeconds": prefill, "decodeSeconds": time.perf_counter() - start, "ids": ids}), flush=True)

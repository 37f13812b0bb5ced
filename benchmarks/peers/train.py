"""One LoRA run of transformers + PEFT, as children/train.ts runs ours: `train.py '<json>'` prints one JSON line."""

import json
import os
import sys
import time

request = json.loads(sys.argv[1])

import torch  # noqa: E402

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

import peft  # noqa: E402
import transformers  # noqa: E402

dtype = getattr(torch, request.get("computeDtype", "bfloat16"))
length = request["sequenceLength"]
versions = {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__}


def load():
    options = {"dtype": dtype, "attn_implementation": "sdpa"}
    if request["quantize"]:
        import bitsandbytes

        versions["bitsandbytes"] = bitsandbytes.__version__
        options["device_map"] = "cpu"
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return transformers.AutoModelForCausalLM.from_pretrained(request["folder"], **options)


start = time.perf_counter()
model = load()
load_seconds = time.perf_counter() - start
model.config.use_cache = False
config = peft.LoraConfig(
    r=request["rank"],
    lora_alpha=2 * request["rank"],
    lora_dropout=0.0,
    target_modules="all-linear",
    task_type="CAUSAL_LM",
)
# Adapters in the model's dtype: PEFT's faster setting for bfloat16, where the default casts every input to float32.
model = peft.get_peft_model(model, config, autocast_adapter_dtype=request.get("castAdapters", False))
model.train()
parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

with open(request["tokens"]) as file:
    ids = json.load(file)

losses, step_seconds = [], []
first_step_at = cpu_start = 0.0
warmup, steps = request["warmup"], request["steps"]
for step in range(warmup + steps):
    if step == warmup:
        cpu_start = time.process_time()
    start = time.perf_counter()
    batch = torch.tensor([ids[step * length : (step + 1) * length]])
    loss = model(input_ids=batch, labels=batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    losses.append(loss.item())
    seconds = time.perf_counter() - start
    if step == 0:
        first_step_at = time.time() * 1000
    if step >= warmup:
        step_seconds.append(seconds)

resident = None
with open("/proc/self/status") as status:
    for line in status:
        if line.startswith("VmHWM:"):
            resident = int(line.split()[1]) * 1024

print(
    json.dumps(
        {
            "loadSeconds": load_seconds,
            "firstStepAt": first_step_at,
            "stepSeconds": step_seconds,
            "cpuSeconds": time.process_time() - cpu_start,
            "residentBytes": resident,
            "losses": losses,
            "trained": sum(parameter.numel() for parameter in parameters),
            "versions": versions,
        }
    ),
    flush=True,
)

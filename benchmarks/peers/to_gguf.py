"""Writes a Qwen3 folder (config.json, model.safetensors) as GGUF: `to_gguf.py FOLDER OUTPUT MATRICES HEAD`.

MATRICES and HEAD are the types of the linear layers and of the (tied) embedding: BF16, Q8_0 or Q4_0. There is no
tokenizer: the benchmark evaluates token ids.
"""

import json
import pathlib
import sys

import gguf
import numpy
import torch
from safetensors.torch import load_file

folder, output, matrices, head = sys.argv[1:]
config = json.loads(pathlib.Path(folder, "config.json").read_text())
tensors = {}
for shard in sorted(pathlib.Path(folder).glob("*.safetensors")):
    tensors.update(load_file(shard))

writer = gguf.GGUFWriter(output, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.QWEN3])
writer.add_context_length(config["max_position_embeddings"])
writer.add_embedding_length(config["hidden_size"])
writer.add_block_count(config["num_hidden_layers"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(config["num_attention_heads"])
writer.add_head_count_kv(config["num_key_value_heads"])
writer.add_key_length(config["head_dim"])
writer.add_value_length(config["head_dim"])
writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
writer.add_vocab_size(config["vocab_size"])
writer.add_tokenizer_model("none")

names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, config["num_hidden_layers"])
for name, tensor in tensors.items():
    target = names.get_name(name, try_suffixes=(".weight",))
    if target is None:
        raise SystemExit(f"no GGUF name for {name}")
    values = tensor.to(torch.float32).numpy()
    if values.ndim == 1:
        writer.add_tensor(target, values)
        continue
    kind = getattr(gguf.GGMLQuantizationType, head if "embed_tokens" in name else matrices)
    writer.add_tensor(target, gguf.quants.quantize(numpy.ascontiguousarray(values), kind), raw_dtype=kind)

writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

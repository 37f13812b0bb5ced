#!/bin/sh
# Makes every golden anew. PYTHON names the interpreter with requirements.txt installed.
set -eu
cd "$(dirname "$0")"
python="${PYTHON:-python}"
for script in make_models make_rope_tables make_peft make_bnb make_adamw8bit make_bnb_checkpoint make_qlora make_text; do
  echo "== $script"
  "$python" "$script.py"
done

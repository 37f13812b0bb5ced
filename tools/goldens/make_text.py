"""Chat template renderings and token ids by transformers, for tokenizers that are not part of this repository.

Run: python make_text.py [DATA]    (writes tests/goldens/text; DATA holds tokenizers/ and templates/, default
$SWIFT_SHARED_DATA or ../shared/data beside the repository)

Only our own inputs and what comes out of them are written; templates and vocabularies stay where they are.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

from common import GOLDENS, REPOSITORY, versions, write_json
from transformers import AutoTokenizer
from transformers.utils import logging

logging.set_verbosity_error()

TOKENIZERS = ("qwen2.5", "qwen3")
CONTEXTS = ("simple", "system", "tool_use")

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather_at",
        "description": "The weather at a place <now & here>, in °C.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "a town's name"},
                "days": {"type": "integer", "minimum": 1, "default": 1},
                "exact": {"type": "boolean"},
            },
            "required": ["place"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "", "parameters": {"type": "object"}}}

USER = {"role": "user", "content": "How many legs has a spider?"}
ANSWER = {"role": "assistant", "content": "Eight."}
SYSTEM = {"role": "system", "content": "Answer in one word."}


def call(name: str, arguments: dict) -> dict:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


TOOL_TURNS = [
    {"role": "user", "content": "Is it warmer in Köln or in Łódź?"},
    {"role": "assistant", "content": "", "tool_calls": [
        call("weather_at", {"place": "Köln", "days": 1, "exact": True}),
        call("weather_at", {"place": "Łódź", "note": "a <b> & 'c' \"d\"\n"}),
    ]},
    {"role": "tool", "content": "21.5"},
    {"role": "tool", "content": "{\"degrees\": 19}"},
    {"role": "assistant", "content": "In Köln."},
    {"role": "user", "content": "And the time?"},
    {"role": "assistant", "content": "Let me look.", "tool_calls": [call("clock", {})]},
    {"role": "tool", "content": "12:34"},
]

CASES: dict[str, dict] = {
    "one-question": dict(messages=[USER], add_generation_prompt=True),
    "question-and-answer": dict(messages=[USER, ANSWER], add_generation_prompt=False),
    "system": dict(messages=[SYSTEM, USER, ANSWER, {"role": "user", "content": "And an ant?"}],
                   add_generation_prompt=True),
    "empty-system": dict(messages=[{"role": "system", "content": ""}, USER], add_generation_prompt=True),
    "spaces-and-lines": dict(
        messages=[{"role": "user", "content": "  two spaces\n\n\tand a tab \n"},
                  {"role": "assistant", "content": "\n kept? \n"}],
        add_generation_prompt=False,
    ),
    "unicode": dict(
        messages=[{"role": "user", "content": "naïve 你好 🦋 e\u0301 <|im_end|> {{ x }} {% y %}"},
                  {"role": "assistant", "content": "ﬁne — “ok” 𝛼"}],
        add_generation_prompt=True,
    ),
    "tools-offered": dict(messages=[USER], tools=[WEATHER, CLOCK], add_generation_prompt=True),
    "tools-used": dict(messages=[SYSTEM, *TOOL_TURNS], tools=[WEATHER, CLOCK], add_generation_prompt=True),
    "thinking-off": dict(messages=[USER], add_generation_prompt=True, enable_thinking=False),
    "thought-in-content": dict(
        messages=[USER, {"role": "assistant", "content": "<think>\nInsects have six.\n</think>\n\nEight."},
                  {"role": "user", "content": "Sure?"},
                  {"role": "assistant", "content": "<think>\nCount again.\n</think>\n\nYes."}],
        add_generation_prompt=False,
    ),
    "thought-apart": dict(
        messages=[USER, {"role": "assistant", "content": "Eight.", "reasoning_content": "Not an insect."}],
        add_generation_prompt=False,
    ),
}

TEXTS = [
    "", " ", "   ", "\n", "\n\n\n", "\t\ttabs", "a  b   c", "trailing   ", "The cat's 12345 toys weren't 3.14%.",
    "I'll, you'RE, they'd've", "naïve café", "cafe\u0301 (combining)", "你好，世界。", "日本語のテキスト", "Привет, мир!",
    "🦋🙂👩‍👩‍👧 flags 🇫🇷", "x=1;\r\ny = [2,\t3]  # note\n", "http://a.b/c?d=e&f#g", "<|im_start|>user\nhi<|im_end|>\n",
    "<think>\n</think>", "ﬁ ½ ² Å \u212b", "\u00a0nbsp\u200bzero", "0123456789 1,000,000 ٣٤", "ÀÉÎÕÜ ßẞ", "𝒳𝓎𝓏 \U00010348",
    "a" * 40, "-" * 33, "}}}}];\n\n\n}", "Ünïcödé\nline\u2028separator",
]


def tokenizer(data: pathlib.Path, name: str):
    """qwen3 shares vocabulary and merges with qwen2.5; only its added tokens and template differ."""
    with tempfile.TemporaryDirectory() as folder:
        for file in ("vocab.json", "merges.txt"):
            shutil.copy(data / "tokenizers" / "qwen2.5" / file, folder)
        shutil.copy(data / "tokenizers" / name / "tokenizer_config.json", folder)
        return AutoTokenizer.from_pretrained(folder)


def render(tok, case: dict) -> str:
    return tok.apply_chat_template(case["messages"], tokenize=False, **{k: v for k, v in case.items() if k != "messages"})


def encode(tok, text: str) -> list[int]:
    return tok(text, add_special_tokens=False)["input_ids"]


def shared_contexts(data: pathlib.Path, tok) -> dict:
    """Contexts of others: what they render to is kept as a digest only."""
    result = {}
    for name in CONTEXTS:
        context = json.loads((data / "templates" / "contexts" / f"{name}.json").read_text())
        text = tok.apply_chat_template(
            context["messages"], tokenize=False, tools=context.get("tools"),
            add_generation_prompt=context["add_generation_prompt"],
        )
        raw = text.encode()
        result[name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "tokens": len(encode(tok, text))}
    return result


def main() -> None:
    default = os.environ.get("SWIFT_SHARED_DATA", str(REPOSITORY.parent / "shared" / "data"))
    data = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else default)
    for name in TOKENIZERS:
        tok = tokenizer(data, name)
        cases = []
        for key, case in CASES.items():
            text = render(tok, case)
            cases.append({"name": key, "input": case, "text": text, "inputIds": encode(tok, text)})
        texts = [
            {"text": text, "inputIds": (ids := encode(tok, text)), "decoded": tok.decode(ids, skip_special_tokens=False)}
            for text in TEXTS
        ]
        write_json(GOLDENS / "text" / f"{name}.json", {
            "tokenizer": f"tokenizers/{name}/tokenizer_config.json with tokenizers/qwen2.5/{{vocab.json,merges.txt}}",
            "versions": versions(),
            "chat": cases,
            "sharedContexts": shared_contexts(data, tok),
            "texts": texts,
        })
        print(name, len(cases), "renderings", len(texts), "texts")


if __name__ == "__main__":
    main()

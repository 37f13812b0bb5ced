/**
 * ChatML, used where a model folder has no chat template: each turn between `<|im_start|>role` and `<|im_end|>`.
 * Functions are listed as JSON lines in the system turn; calls and results are JSON between tags.
 */
export const chatmlTemplate: string = `{%- set first = messages[0] if messages else none -%}
{%- set has_system = first and first.role == 'system' -%}
{%- if has_system or tools -%}
{{- '<|im_start|>system\\n' -}}
{%- if has_system %}{{- first.content -}}{% endif -%}
{%- if tools -%}
{{- ('\\n\\n' if has_system else '') + 'Functions you may call, one per line:' -}}
{%- for tool in tools %}{{- '\\n' + (tool | tojson) -}}{% endfor -%}
{{- '\\nCall one with {"name": ..., "arguments": {...}} between <tool_call> and </tool_call>.' -}}
{%- endif -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{%- if not (loop.first and has_system) -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'tool' -%}
{{- '<tool_response>\\n' + message.content + '\\n</tool_response>' -}}
{%- else -%}
{{- message.content -}}
{%- endif -%}
{%- for call in (message.tool_calls or []) -%}
{%- set call = call.function if call.function else call -%}
{{- ('\\n' if message.content or not loop.first else '') + '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' -}}
{{- call.arguments if call.arguments is string else (call.arguments | tojson) -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' -}}{% endif -%}
`

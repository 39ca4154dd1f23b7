"""What `headworks init` writes: a configuration that works at once and explains itself."""

from pathlib import Path

from headworks.config.json_schema import FILE as SCHEMA_FILE
from headworks.config.json_schema import json_schema_text

TEMPLATE = """\
# yaml-language-server: $schema=./headworks.schema.json
#
# The configuration of headworks. What is commented out shows the default or an example.
# Check it with `headworks config validate`; docs/configuration.md lists every key.
#
# A secret never stands in this file; it is referred to:
#   ${env:NAME}              an environment variable
#   ${env:NAME:-default}     with a default when it is unset or empty
#   ${file:/path}            a file, relative to this one; a line break at its end is dropped
# The headworks.<environment>.yaml beside this file is laid over it, and over both the
# environment variables such as HEADWORKS__SERVER__LISTEN=0.0.0.0:4000.

environment: development          # HEADWORKS_ENV goes before

server:
  listen: 127.0.0.1:4000          # the API: point your apps' base_url at http://127.0.0.1:4000/v1
  admin: 127.0.0.1:4001           # /healthz, /readyz, /metrics: keep it private
  # drain: 600s                   # how long a stop waits for answers in flight
  # max_body: 20MB                # largest request
  # max_answer: 128MB             # largest answer that is read whole; streams have no bound

store: sqlite:headworks.db        # ledger and keys, relative to the working directory
# coordination: local
# key_pepper: "${file:pepper}"    # default: made once, beside the store

# log:
#   level: info                   # debug, info, warning, error
#   format: json                  # or text
#   calls: true                   # one line per call
#   file: calls.jsonl             # where these go; `headworks logs` reads it

# retry:
#   attempts: 3                   # per call, over all routes; 1 to 3
#   first: 0.5s                   # upper bound of the first random wait, doubled each time
#   longest: 8s

upstreams:
  openai:
    base_url: https://api.openai.com/v1
    credentials:
      - name: main
        api_key: "${env:OPENAI_API_KEY}"
        # organization: org-123
        # project: proj_123
    # timeouts: {connect: 5s, first_byte: 60s, idle: 30s, total: 10m}
    # proxy: http://proxy.example:3128
    # ca_file: private-ca.pem     # trusted instead of the system's authorities
    # connections: 10000
    # allow_http: false           # http:// is for this machine only
    # breaker: {failures: 0.5, open: 5s}   # when a failing route is left alone; false for never
    # retry_budget: {share: 0.2, floor: 3} # retries per request, and a second

# Names that apps ask for. A model that is not named here goes to its upstream unchanged.
models:
  assistant:
    routes: [openai/gpt-6-sol, openai/gpt-6-luna]     # fallback in this order
    # patience: 5s                # how long to wait for the same route before the next one
    # timeouts: {first_byte: 20s}
    # stream: {commit: complete}  # or first_token, or {after: 200}: characters held back
    # on: {rate_limit: [openai/gpt-6-luna]}          # other routes for one kind of failure
    # content_filter: {answer: I cannot help with that.}   # or {reroute: other}, or propagate
    # context: drop_oldest        # of a request that is longer than the model's window
  # spread:                       # groups choose for each call: weighted, least_latency, cheapest
  #   routes: [{weighted: {openai/gpt-6-sol: 9, openai/gpt-6-luna: 1}}]

# Keys that apps use. `headworks keys create` makes them without touching this file.
# keys:
#   - name: web
#     secret: "${env:HEADWORKS_WEB_KEY}"
#     project: shop
#     models: [assistant]         # leave it out for all models
#     limits: {rpm: 60, parallel: 8}
#     expires: 2027-01-01

# Prices in US dollars per million tokens, laid over the built-in catalogue.
# prices:
#   my-model: {input: 1.25, output: 10, cached: 0.125}

# What models take, laid over the built-in catalogue; routes that cannot are left out.
# capabilities:
#   gpt-6-luna: {context: 128000, vision: false}
"""


def write(path: Path, *, force: bool = False) -> tuple[Path, Path]:
    """Write the commented configuration and its schema beside it; return both paths.

    Raises `FileExistsError` when the configuration exists, unless forced.
    """
    schema = path.with_name(SCHEMA_FILE)
    with path.open("w" if force else "x", encoding="utf-8") as file:
        file.write(TEMPLATE)
    schema.write_text(json_schema_text(), encoding="utf-8")
    return path, schema

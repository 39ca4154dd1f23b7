"""Writes docs/configuration.md and docs/headworks.schema.json from the schema of headworks.yaml.

python scripts/config_reference.py            # write both
python scripts/config_reference.py --check    # exit 1 if one is out of date
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import yaml

from headworks.config import (
    json_schema,
    schema,
    schema_browsers,
    schema_budgets,
    schema_context,
    schema_failures,
    schema_health,
    schema_ledger,
    schema_limits,
    schema_models,
    schema_queue,
    schema_routes,
    schema_stream,
    schema_upstreams,
    section,
)
from headworks.config.section import Duration, Section
from headworks.config.template import TEMPLATE
from headworks.core.endpoints import RequestType
from headworks.types import Secret

DOCS = Path(__file__).parents[1] / "docs"
WORDS: dict[Any, str] = {
    Duration: "duration above 0",
    schema_failures.Lateness: "duration above 0, or p95",
    schema_browsers.Life: "duration above 0",
    schema_browsers.Origin: "origin",
    section.Pause: "duration",
    section.Size: "size",
    section.Rate: "US dollars",
    schema_budgets.Money: "US dollars above 0",
    section.Address: "host:port",
    section.Name: "name",
    section.ModelName: "model name",
    schema_limits.Label: "name",
    section.RouteName: "upstream/model",
    schema_failures.TargetName: "model name or upstream/model",
    RequestType: "type",
    Secret: "secret",
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
}
SECTIONS: tuple[tuple[str, type[Section]], ...] = (
    ("Top level", schema.Document),
    ("server", schema.Server),
    ("server.cors", schema_browsers.Cors),
    ("server.websocket", schema.WebSocket),
    ("log", schema.Log),
    ("retry", schema.Retry),
    ("ledger", schema_ledger.Ledger),
    ("idempotency", schema_ledger.Idempotency),
    ("stream", schema_stream.Stream),
    ("queue", schema_queue.Queue),
    ("upstreams.*", schema_upstreams.Upstream),
    ("upstreams.*.credentials[]", schema_upstreams.Credential),
    ("upstreams.*.admin_credential", schema_upstreams.AdminCredential),
    ("upstreams.*.limits", schema_upstreams.Limits),
    ("upstreams.*.timeouts", schema_upstreams.Timeouts),
    ("upstreams.*.timeouts.by_type.*", schema_upstreams.Waits),
    ("upstreams.*.breaker", schema_health.Breaker),
    ("upstreams.*.retry_budget", schema_health.RetryBudget),
    ("models.*", schema_models.Model),
    ("models.*.routes[]", schema_routes.Group),
    ("models.*.timeouts", schema_upstreams.ModelTimeouts),
    ("models.*.stream", schema_failures.ModelStream),
    ("models.*.stream.commit", schema_failures.HeldBack),
    ("models.*.on", schema_failures.On),
    ("models.*.content_filter", schema_failures.Filtered),
    ("models.*.hedge", schema_failures.Hedge),
    ("models.*.context", schema_context.Context),
    ("keys[]", schema.Key),
    ("keys[].limits", schema_queue.KeyLimits),
    ("keys[].stream", schema_stream.Buffered),
    ("keys[].client_tokens", schema_browsers.ClientTokens),
    ("budget", schema_budgets.Budget),
    ("limits", schema_limits.Limits),
    ("limits.models.*", schema_limits.ModelLimits),
    ("projects.*", schema_limits.Project),
    ("users.*", schema_limits.User),
    ("tags.*", schema_limits.Tag),
    ("prices.*", schema.Price),
    ("capabilities.*", schema_routes.Capability),
)
INTRODUCTION = """\
# Configuration

<!-- Written by scripts/config_reference.py from the schema; a test compares. -->

headworks reads one YAML file: the one that `--config` names, else the one in `HEADWORKS_CONFIG`,
else `./headworks.yaml`. `headworks init` writes one with comments. Without any file,
`OPENAI_API_KEY` is enough to start: there is then one upstream, `openai`, at `OPENAI_BASE_URL` or
OpenAI itself.

`headworks config validate` tells everything that is wrong, each with file, line and key;
`headworks config show` prints what takes effect, with secrets masked; `headworks config schema`
prints the JSON Schema that editors use.

## Layers

Each is laid over the one before:

1. the file, for example `headworks.yaml`;
2. the file of the environment beside it, for example `headworks.production.yaml`. The environment
   is what `HEADWORKS_ENV` says, else the file's own `environment`;
3. environment variables: `HEADWORKS__SERVER__LISTEN=0.0.0.0:4000` sets `server.listen`. Two
   underscores separate the names, which are read in lower case; a number counts a list's items
   from 0, as in `HEADWORKS__KEYS__0__PROJECT`. A value is one YAML scalar.

Mappings merge; lists and single values replace; `null` removes what a lower layer says. An unknown
key is an error, with the nearest known name.

## References and secrets

A text may refer to what stands elsewhere, in whole or in part:

| reference | stands for |
|---|---|
| `${env:NAME}` | an environment variable, which must be set |
| `${env:NAME:-default}` | the same, with a default when it is unset or empty |
| `${file:/path}` | a file's content without a line break at its end; relative paths begin at the configuration file |
| `$${` | a plain `${` |

The keys of upstreams are taken by reference only. Two exceptions open nothing: keys that begin
with `sk-simulator`, and those of upstreams on this machine. A file that a reference names is
watched like the configuration itself. Secrets show as `***` everywhere.

## Spelling

- **duration**: `500ms`, `30s`, `10m`, `1h`, `1m30s`, or a number of seconds
- **size**: `512KB`, `20MB`, `1GB` (powers of 1000), `1MiB` (powers of 1024), or a number of bytes
- **US dollars**: per million tokens, at most 9 decimal places, in quotes or not
- **name**: letters, digits, dots, hyphens and underscores, at most 64
- **type**: a part of the API: TYPES
- YAML 1.2: only `true` and `false` are switches; `on`, `off`, `yes` and `no` are text

## Reload

A changed file or `SIGHUP` reloads the configuration. One with an error changes nothing: the
running one stays, and the error is logged. `server`, `store`, `key_pepper`, `log` and `ledger` take
effect at the next start.
"""


def main() -> None:
    """Write both files, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    is_check = parser.parse_args().check
    for path, content in rendered().items():
        if not is_check:
            path.write_text(content, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != content:
            sys.exit(f"{path} is out of date: run python scripts/config_reference.py")


def rendered() -> dict[Path, str]:
    """Return the generated files."""
    return {
        DOCS / "configuration.md": reference(),
        DOCS / json_schema.FILE: json_schema.json_schema_text(),
    }


def reference() -> str:
    """Return docs/configuration.md."""
    tables = "\n".join(part for name, kind in SECTIONS for part in section_table(name, kind))
    start = f"## A file to start from\n\n```yaml\n{TEMPLATE}```\n"
    types = [f"`{name}`" for name in get_args(RequestType)]
    introduction = INTRODUCTION.replace(
        "TYPES", textwrap.fill(", ".join(types), 96).replace("\n", "\n  ")
    )
    return f"{introduction}\n## All keys\n\n{tables}\n{start}"


def section_table(name: str, kind: type[Section]) -> Iterator[str]:
    """Yield one section's heading and table."""
    yield f"### {name}\n\n{kind.__doc__}\n"
    yield "| key | value | default | |\n|---|---|---|---|"
    for field in sorted(msgspec.structs.fields(kind), key=_is_optional):
        metas = [arg for arg in get_args(field.type) if isinstance(arg, msgspec.Meta)]
        text = next(meta.description for meta in metas if meta.description)
        examples = [one for meta in metas for one in meta.examples or ()]
        shown = " or ".join(f"`{_flow(one)}`" for one in examples)
        suffix = f" For example {shown}." if shown else ""
        yield f"| `{field.encode_name}` | {words(field.type)} | {default(field)} | {text}{suffix} |"
    yield ""


def _is_optional(field: msgspec.structs.FieldInfo) -> bool:
    return not field.required


def words(kind: Any) -> str:
    """Spell a type for people."""
    bare, *metas = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    named = (word for known, word in WORDS.items() if _is_kind(bare, metas, known))
    bounds = "".join(f", {m.ge} to {m.le}" for m in metas if m.ge is not None)
    return next(named, None) or f"{_structure(bare)}{bounds}"


def _is_kind(bare: Any, metas: list[Any], known: Any) -> bool:
    """Whether a type is one of those with a word, perhaps with more annotations."""
    if get_origin(known) is Annotated:
        return get_args(known) == (bare, *metas[:1])
    return known is bare and not any(meta.ge is not None for meta in metas)


def _structure(bare: Any) -> str:
    args = [arg for arg in get_args(bare) if arg is not type(None)]
    origin = get_origin(bare)
    if origin in {Union, UnionType}:
        return ", or ".join(map(words, args))
    if origin is Literal:
        return " or ".join(f"`{arg}`" for arg in args)
    if origin is tuple:
        return f"list of {words(args[0])}"
    if origin is dict:
        return f"mapping of {words(args[0])} to {words(args[1])}"
    return WORDS.get(bare, "mapping")


def default(field: msgspec.structs.FieldInfo) -> str:
    """Spell a field's default."""
    if field.required:
        return "required"
    value = field.default
    if value is msgspec.NODEFAULT or value is None or not isinstance(value, str | int | float):
        return ""
    return f"`{_flow(value)}`" if value != "" else ""


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=200)
    return text.removesuffix("\n...\n").strip()


if __name__ == "__main__":
    main()

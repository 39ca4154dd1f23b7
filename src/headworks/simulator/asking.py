"""Makes what an endpoint sees out of what came over HTTP."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from headworks.simulator import forms
from headworks.simulator.exchange import Exchange
from headworks.simulator.forms import Form


def read(exchange: Exchange, takes: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what `Asked` takes from a request whose path takes a body of this kind.

    Raises:
        Refusal: The body is none of this kind.
    """
    form = _form(exchange, takes)
    host = exchange.headers.get(b"host", b"").decode("latin-1")
    return {
        "method": exchange.method,
        "path": exchange.path,
        "fields": form.fields,
        "uploads": form.uploads,
        "names": names,
        "query": dict(parse_qsl(exchange.query.decode("latin-1"))) if exchange.query else {},
        "origin": f"http://{host}" if host else "",
    }


def _form(exchange: Exchange, takes: str) -> Form:
    if takes == "nothing":
        return Form({}, {})
    kind = exchange.headers.get(b"content-type", b"").decode("latin-1")
    is_form = takes == "form" or kind.partition("/")[0].strip().lower() == "multipart"
    if takes == "json" or not is_form:
        return Form(exchange.fields(), {})
    return forms.read(exchange.content, kind)

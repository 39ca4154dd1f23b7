"""Whatever stands in a file, it is taken or refused in words, and no secret gets out."""

import functools
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headworks.config import known_secrets
from headworks.config.loading import read
from headworks.errors import ConfigurationError
from tests.config.files import BASE, reader, refused

TWO_FIELDS = """\
upstreams: {openai: {base_url: "https://a.example/@", proxy: "@", ca_file: "@", credentials: [
  {name: main, api_key: "@", project: "@"}]}}"""
secrets = st.text("QXZJKW0123456789-_", min_size=20, max_size=40)
places = st.lists(
    st.sampled_from([
        'key_pepper: "@"', 'store: "@"', 'environment: "@"', 'coordination: "@"',
        'server: {listen: "@"}', 'server: {drain: "@"}', 'server: {max_body: "@"}',
        'log: {level: "@"}', 'log: {calls: "@"}', 'retry: {attempts: "@"}',
        'models: {m: {routes: ["@"]}}', 'models: {m: {routes: ["openai/@"]}}',
        'models: {m: {routes: ["@/x"]}}', 'keys: [{name: "@", secret: "@"}]',
        'keys: [{name: a, secret: "@", expires: "@"}]',
        'keys: [{name: a, secret: "@", models: ["@"], project: "@"}]',
        'prices: {m: {input: "@", output: 1}}',
        'upstreams: {openai: {base_url: "@", credentials: [{name: "@", api_key: "@"}]}}',
        'upstreams: {openai: {base_url: "https://a.example", credentials: [{name: m, api_key: "@"}]}}',
        TWO_FIELDS,
    ]),
    max_size=5,
    unique_by=lambda text: text.split(":")[0],
)  # fmt: skip


def all_that_is_said(text: str, secret: str) -> str:
    """Return every word that loading and showing a configuration gives out."""
    try:
        found = read(
            BASE, {"S": secret, "KEY": secret}, reader({"headworks.yaml": text, "s": secret})
        )
    except ConfigurationError as error:
        return f"{error}{error!r}"
    known = {one.reveal() for one in known_secrets(found.config)}
    return f"{found.config.warnings}{found.as_yaml() if secret in known else ''}"


@given(secrets, places, st.sampled_from(["${env:S}", "${file:s}", "x${env:S}"]))
def test_a_referenced_secret_never_shows(secret, texts, reference):
    """Wherever a secret is put by mistake, no message shows it, and `show` masks what is one."""
    text = "\n".join(texts).replace("@", reference)
    assert secret not in all_that_is_said(text, secret)


names = st.sampled_from([
    "server", "listen", "store", "log", "retry", "attempts", "upstreams", "openai", "base_url",
    "credentials", "name", "api_key", "models", "routes", "keys", "secret", "limits", "rpm",
    "prices", "input", "environment", "timeouts", "idle", "proxy", "key_pepper", "<<", "x",
])  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from(["${env:KEY}", "${env:", "openai/x", "https://a.example/v1", "5s"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(st.dictionaries(names, values, max_size=5) | values)
def test_any_tree_is_a_configuration_or_a_list_of_problems(tree):
    """No file makes headworks fail in another way than by saying what is wrong with it."""
    refused(yaml.safe_dump(tree, allow_unicode=True))


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
    st.dictionaries(
        st.sampled_from(
            ["HEADWORKS_ENV", "HEADWORKS__SERVER", "HEADWORKS__KEYS__0", "HEADWORKS__X"]
        ),
        st.text(max_size=10),
    ),
)
def test_any_bytes_are_a_configuration_or_a_list_of_problems(content, environ):
    """Bytes that are no configuration are refused in words, whatever the variables say."""
    refused(content, environ)


WHOLE = """\
server: {listen: "127.0.0.1:4000", drain: 5s, max_body: 20MB}
log: {level: info, file: calls.jsonl}
retry: {attempts: 3, first: 0.5s, longest: 8s}
upstreams:
  openai:
    base_url: https://a.example/v1
    credentials: [{name: main, api_key: "${env:KEY}", organization: o, project: p}]
    timeouts: {total: 5m, by_type: {responses: {total: 30m, idle: 1s}}}
    breaker: {slow: 3s, slow_share: 0.5, open: 1s, longest: 2s}
    retry_budget: {share: 0.2, floor: 3}
models:
  small: {routes: [openai/y]}
  a:
    routes: [{weighted: {openai/a: 1, openai/b: 2}}, {cheapest: [openai/c]}, openai/d]
    timeouts: {total: 5s, by_type: {responses: {total: 30m}}}
    stream: {commit: {after: 200}}
    on: {rate_limit: [small, openai/x]}
    content_filter: {reroute: small}
    hedge: {after: 1s, share: 0.1}
    context: {strategy: summarize, model: small, window: 5000, reserve_output: 500, last: 2}
keys: [{name: web, secret: "${env:KEY}", models: [a], limits: {rpm: 4}, expires: "2027-01-01"}]
prices: {a: {input: 1, output: 1}}
capabilities: {a: {context: 5, tools: true}}
"""
JUNK = ["null", "[]", "{}", "[[]]", "[{}]", "{x: []}", "{strategy: []}", "''", "x", "-1", ".inf", "true"]  # fmt: skip


def places_in(
    value: dict[str, object] | list[object], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Yield the path to everything in a tree but the tree itself."""
    for name, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(child, dict | list):
            yield from places_in(child, (*path, name))


@pytest.mark.parametrize("place", [*places_in(yaml.safe_load(WHOLE))], ids=str)
def test_nonsense_at_any_place_is_told_in_words(place):
    """A list where a word belongs, a mapping where a list does: lines to read, never a crash."""
    for junk in JUNK:
        values = yaml.safe_load(WHOLE)
        *above, last = place
        functools.reduce(lambda at, name: at[name], above, values)[last] = yaml.safe_load(junk)
        text = yaml.safe_dump(values)
        for problem in refused(text):
            assert problem.startswith("headworks.yaml:")

"""Which pages may call, and which keys may mint tokens for them, is what the file says."""

import re

import pytest

from headworks.config import units
from headworks.config.settings import CorsConfig
from headworks.core.client_tokens import TokenRules
from headworks.errors import ConfigurationError
from headworks.types import RateLimits
from tests.config.files import MINIMAL, loaded

PLAIN = "keys: [{name: web, secret: '0123456789abcdef'}]\n"
WEB = "keys: [{{name: web, secret: '0123456789abcdef', client_tokens: {}}}]\n"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.com", "https://app.example.com"),
        ("http://localhost:5173", "http://localhost:5173"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://127.0.0.1", "https://127.0.0.1"),
        ("http://example.com:443", "http://example.com:443"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("*", "*"),
    ],
)
def test_an_origin_is_read_as_browsers_spell_it(value, expected):
    """Scheme, host and port, in lower case."""
    assert units.origin(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "null",
        "app.example.com",
        "//app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/x",
        "https://app.example.com?x",
        "https://app.example.com#x",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:99999",
        "https://app.example.com:x",
        "https://app example.com",
        "https://app.example.com\n",
        "https://bücher.example",
        "https://[::g]",
        "**",
    ],
)
def test_what_no_browser_sends_is_no_origin(value):
    """It would never match, so that it is refused with a right spelling."""
    with pytest.raises(ValueError, match=r"browsers leave out|such as https://app\.example\.com"):
        units.origin(value)


def test_cors_is_as_written():
    """Nothing is allowed unless it is written; an age and the keys have defaults."""
    assert loaded(MINIMAL).server.cors is None
    origins = '["https://App.example.com", "http://localhost:3000"]'
    found = loaded(MINIMAL + f"server: {{cors: {{origins: {origins}}}}}\n")
    both = frozenset({"https://app.example.com", "http://localhost:3000"})
    assert found.server.cors == CorsConfig(both, 600.0, allows_keys=False)
    found = loaded(MINIMAL + 'server: {cors: {origins: ["*"], max_age: 0s, keys: allow}}\n')
    assert found.server.cors == CorsConfig(frozenset("*"), 0.0, allows_keys=True)


def test_a_key_mints_only_if_it_says_so():
    """Without `client_tokens` it may not; with it and nothing more, an hour and no limits."""
    (plain,) = loaded(MINIMAL + PLAIN).keys
    assert plain.grant.client_tokens is None
    for written, rules in (
        ("{}", TokenRules()),
        ("{max_expiry: 15m}", TokenRules(900.0)),
        (
            "{limits: {rpm: 6, tpm: 700, rpd: 50, tpd: 900, parallel: 2}}",
            TokenRules(limits=RateLimits(6, 2, 700, 50, 900)),
        ),
    ):
        (key,) = loaded(MINIMAL + WEB.format(written)).keys
        assert key.grant.client_tokens == rules


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("server: {cors: {}}\n", "server.cors.origins"),
        ("server: {cors: {origins: []}}\n", "server.cors.origins"),
        ("server: {cors: {origins: [x]}}\n", "server.cors.origins[0]: not an origin"),
        ('server: {cors: {origins: ["*", "https://a.b"]}}\n', '"*" allows every origin'),
        ('server: {cors: {origins: ["https://a.b", "https://a.b"]}}\n', "stands here twice"),
        ('server: {cors: {origins: ["*"], keys: yes}}\n', "server.cors.keys"),
        ('server: {cors: {origins: ["*"], credentials: true}}\n', "server.cors.credentials"),
        (WEB.format("{max_expiry: 61m}"), "client tokens live 1h at most"),
        (WEB.format("{max_expiry: 0s}"), "keys[0].client_tokens.max_expiry"),
        (WEB.format("{limits: {usd: 5}}"), "keys[0].client_tokens.limits.usd"),
        (WEB.format("{limits: {rpm: 10, rpd: 5}}"), "is never reached, since rpd is less"),
        (WEB.format("{}") + "key_pepper: sixteen-letters!\n", "key_pepper: it needs 32 characters"),
    ],
)
def test_a_mistake_is_told_where_it_stands(text, told):
    """With file, line and key, before anything starts."""
    with pytest.raises(ConfigurationError, match=re.escape(told)) as refused:
        loaded(MINIMAL + text)
    assert all("headworks.yaml:" in problem for problem in refused.value.problems)


def test_a_long_pepper_signs():
    """And a short one is fine where no key mints."""
    assert loaded(MINIMAL + WEB.format("{}") + f"key_pepper: {'p' * 32}\n").keys
    assert loaded(MINIMAL + PLAIN + "key_pepper: sixteen-letters!\n").keys

"""A client token says what its key's app was granted, in one spelling that nobody else can write."""

import base64
import hmac
import json
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.client_tokens import (
    LEEWAY,
    LONGEST,
    MOST,
    BadToken,
    Claims,
    TokenLimits,
    TokenRules,
    claimed,
    holder,
    is_token,
    narrowed,
    read,
    read_asked,
    sign,
    tagged,
)
from headworks.core.keys import TOKEN_PREFIX, derive, digest, redact_keys
from headworks.errors import InvalidRequest, ModelNotAllowed
from headworks.types import Caller, RateLimits, Request, Tags

KEY = bytes(range(32))
NOW = 1_800_000_000.0
CLAIMS = Claims("tok_1", "cfg_web.00", "u42", NOW, NOW + 600, ("assistant",), TokenLimits(rpm=5))
TOKEN = sign(CLAIMS, KEY)
WEB = Caller("web", "cfg_web")
RULES = TokenRules()


def part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(head: bytes, claims: object, algorithm: str = "sha256", key: bytes = KEY) -> str:
    """Return a token that is signed rightly, whatever it says."""
    body = f"{part(head)}.{part(json.dumps(claims).encode())}"
    return f"{body}.{part(hmac.digest(key, body.encode(), algorithm))}"


def is_refused(text: str, now: float = NOW) -> bool:
    try:
        read(text, KEY, now)
    except BadToken:
        return True
    return False


# Spelling.

texts = st.text(max_size=40)
numbers = st.none() | st.integers(1, 10**12)
claims = st.builds(
    Claims,
    jti=texts,
    iss=texts,
    sub=st.text(min_size=1, max_size=40),
    iat=st.just(NOW),
    exp=st.integers(1, 3600).map(lambda life: NOW + life),
    models=st.none() | st.lists(texts, max_size=4).map(tuple),
    limits=st.builds(TokenLimits, numbers, numbers, numbers, numbers, numbers),
    feature=texts,
    tags=st.lists(texts, max_size=4).map(tuple),
)


@given(claims)
def test_what_was_signed_is_read(said):
    """Whatever a token says, the gateway reads it as it was granted."""
    text = sign(said, KEY)

    assert is_token(text)
    assert read(text, KEY, NOW) == said


def test_any_jwt_library_can_look_into_a_token():
    """It is a JWT by RFC 7519, so that an app may show until when it holds."""
    head, body, signature = TOKEN.split(".")

    assert json.loads(base64.urlsafe_b64decode(head + "==")) == {"alg": "HS256", "typ": "hw+jwt"}
    assert f"{head}." == TOKEN_PREFIX
    assert json.loads(base64.urlsafe_b64decode(body + "==")) == {
        "jti": "tok_1",
        "iss": "cfg_web.00",
        "sub": "u42",
        "iat": NOW,
        "exp": NOW + 600,
        "models": ["assistant"],
        "limits": {"rpm": 5},
    }
    made = hmac.digest(KEY, f"{head}.{body}".encode(), "sha256")
    assert base64.urlsafe_b64decode(signature + "=") == made


# Forgery.


@pytest.mark.parametrize("at", range(len(TOKEN)))
def test_no_letter_can_be_changed(at):
    """A token that was tampered with at any place, in any way, is none."""
    others = set(map(chr, range(0x21, 0x7F))) | {"\0", "\x7f", "é", "\udc80"}
    for other in others - {TOKEN[at]}:
        assert is_refused(TOKEN[:at] + other + TOKEN[at + 1 :]), (at, other)
    assert is_refused(TOKEN[:at])
    assert is_refused(TOKEN[at + 1 :])
    assert is_refused(TOKEN[:at] + TOKEN[at + 1 :])
    assert is_refused(TOKEN[:at] + TOKEN[at] + TOKEN[at:])


@pytest.mark.parametrize("more", ["=", ".", " ", "\n", "A", ".." + TOKEN, "\0"])
def test_a_token_has_one_spelling(more):
    """Nothing can be added to it, padding and white space neither."""
    assert is_refused(TOKEN + more)
    assert is_refused(more + TOKEN)


HEAD = b'{"alg":"HS256","typ":"hw+jwt"}'
NONE = b'{"alg":"none","typ":"hw+jwt"}'
BODY = TOKEN.split(".")[1]
FIELDS = msgspec.to_builtins(CLAIMS)


@pytest.mark.parametrize(
    "text",
    [
        f"{part(NONE)}.{BODY}.",
        f"{TOKEN_PREFIX}{BODY}.",
        f"{TOKEN_PREFIX}{BODY}",
        f"{TOKEN_PREFIX}.",
        TOKEN_PREFIX,
        "",
        ".",
        "..",
        signed(NONE, FIELDS),
        signed(b'{"alg":"HS512","typ":"hw+jwt"}', FIELDS, "sha512"),
        signed(b'{"alg":"HS256","typ":"JWT"}', FIELDS),
        signed(b'{"typ":"hw+jwt","alg":"HS256"}', FIELDS),
        signed(b'{"alg":"HS256","typ":"hw+jwt","kid":"../../dev/null"}', FIELDS),
        signed(HEAD, FIELDS, key=bytes(32)),
        signed(HEAD, FIELDS, key=b""),
    ],
)
def test_a_token_does_not_choose_how_it_is_read(text):
    """Another algorithm, none at all, another head, another key: refused, however well signed."""
    assert is_refused(text)


@pytest.mark.parametrize(
    "said",
    [
        {**FIELDS, "exp": NOW + LONGEST + 1},
        {**FIELDS, "exp": NOW},
        {**FIELDS, "exp": NOW - 1},
        {**FIELDS, "exp": None},
        {**FIELDS, "exp": "2100"},
        {**FIELDS, "sub": ""},
        {**FIELDS, "sub": 42},
        {**FIELDS, "admin": True},
        {**FIELDS, "limits": {"rpm": 0}},
        {**FIELDS, "limits": {"usd": 1}},
        {name: value for name, value in FIELDS.items() if name != "exp"},
        {name: value for name, value in FIELDS.items() if name != "iss"},
        [],
        None,
        "x",
    ],
)
def test_claims_that_no_gateway_makes_are_refused(said):
    """Even with the right signature: what it says is read strictly."""
    assert not is_refused(signed(HEAD, FIELDS))
    assert is_refused(signed(HEAD, said))


def test_a_token_from_the_future_is_refused():
    """Clocks may differ by five seconds, not by more."""
    assert not is_refused(TOKEN, NOW - LEEWAY)
    assert is_refused(TOKEN, NOW - LEEWAY - 0.001)


def test_a_huge_token_is_refused_unread():
    """What is longer than any token can be costs nothing."""
    large = sign(msgspec.structs.replace(CLAIMS, feature="x" * MOST), KEY)

    assert len(large) > MOST
    assert is_refused(large)
    assert is_refused(TOKEN_PREFIX + "A" * 10_000_000)


@given(st.text(max_size=200) | st.text(max_size=200).map(lambda text: TOKEN_PREFIX + text))
def test_nothing_that_is_sent_in_place_of_a_token_breaks_the_reader(text):
    """Whatever a stranger sends is refused, and nothing else happens."""
    assert is_refused(text)


def test_each_purpose_has_a_key_of_its_own():
    """No key's hash is a signing key, and no pepper can be read from one."""
    pepper = b"p" * 32

    assert derive(pepper, "a") != derive(pepper, "b")
    assert derive(pepper, "a") != derive(b"q" * 32, "a")
    assert derive(pepper, "a") != digest(pepper, "a")
    assert len(derive(bytes(range(200)), "a")) == 32


def test_a_token_never_shows_in_a_text():
    """Whoever pastes one into a tag finds it masked, whole or cut."""
    assert redact_keys(f"x {TOKEN} y") == "x *** y"
    assert redact_keys(TOKEN[:-10]) == "***"


# What may be asked for.


@dataclass(frozen=True)
class Case:
    """What a backend asks for, and why it does not get it."""

    fields: dict[str, Any]
    told: str
    param: str | None = None
    caller: Caller = WEB
    rules: TokenRules = field(default_factory=TokenRules)


NARROW = Caller("web", "cfg_web", models=frozenset({"assistant", "other"}), limits=RateLimits(60))
U = {"user": "u42"}
CASES = {
    "nobody": Case({}, "user", None),
    "an empty user": Case({"user": ""}, "length >= 1", "user"),
    "a long user": Case({"user": "u" * 257}, "length <= 256", "user"),
    "a user of another type": Case({"user": 42}, "user: Expected `str`, got `int`", "user"),
    "control characters": Case({"user": "a\nb"}, "printable"),
    "a key in the user": Case({"user": "hw_4fTq0ZsW1b_secret"}, "without API keys"),
    "a token in a tag": Case({**U, "tags": [TOKEN[:200]]}, "without API keys"),
    "a misspelt name": Case({**U, "model": ["x"]}, "unknown field `model`"),
    "no models": Case({**U, "models": []}, "length >= 1", "models"),
    "a model of others": Case(
        {**U, "models": ["assistant", "gpt"]}, "may not use the model 'gpt'", "models", NARROW
    ),
    "an unknown limit": Case({**U, "limits": {"usd": 5}}, "unknown field `usd`", "limits"),
    "a limit of nothing": Case({**U, "limits": {"rpm": 0}}, ">= 1", "limits.rpm"),
    "more than its key": Case(
        {**U, "limits": {"rpm": 61}},
        "rpm is 61, but tokens of this key have 60",
        "limits.rpm",
        NARROW,
    ),
    "more than its key's tokens": Case(
        {**U, "limits": {"rpm": 11}},
        "have 10 at most",
        "limits.rpm",
        NARROW,
        TokenRules(limits=RateLimits(10)),
    ),
    "too long": Case({**U, "expires_in": 3600.001}, "longer than the 1h0m0s", "expires_in"),
    "longer than its key's": Case(
        {**U, "expires_in": "11m"}, "longer than the 10m0s", "expires_in", WEB, TokenRules(600)
    ),
    "no time at all": Case({**U, "expires_in": 0}, "above 0", "expires_in"),
    "time that is no time": Case({**U, "expires_in": "soon"}, "above 0", "expires_in"),
    "less than no time": Case({**U, "expires_in": -1}, "above 0", "expires_in"),
    "not a number": Case({**U, "expires_in": float("nan")}, "above 0", "expires_in"),
    "for ever": Case({**U, "expires_in": float("inf")}, "longer than", "expires_in"),
    "true": Case({**U, "expires_in": True}, "got `bool`", "expires_in"),
    "many tags": Case({**U, "tags": ["a"] * 17}, "length <= 16", "tags"),
    "an empty tag": Case({**U, "tags": [""]}, "length >= 1", "tags[0]"),
}


def made(fields: dict[str, Any], caller: Caller = WEB, rules: TokenRules = RULES) -> Claims:
    """Return what a token says that a backend asks for."""
    return claimed(read_asked(fields), caller, rules, now=NOW, id_="tok_1", iss="k1")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_backend_gets_no_more_than_its_key_has(case):
    """It is told what is wrong, and where."""
    with pytest.raises((InvalidRequest, ModelNotAllowed)) as caught:
        made(case.fields, case.caller, case.rules)

    assert case.told in str(caught.value)
    if case.param is not None:
        assert caught.value.param == case.param


def test_a_backend_need_name_no_more_than_its_user():
    """Ten minutes, or what the key allows if that is less; the rest is as the key has it."""
    assert made({"user": "u42"}) == Claims("tok_1", "k1", "u42", NOW, NOW + 600)
    assert made({"user": "u42"}, rules=TokenRules(30)).exp == NOW + 30
    for life in (3600, 3600.0, "1h", "60m"):
        assert made({"user": "u42", "expires_in": life}).exp == NOW + 3600


@given(st.floats(1.7e9, 4e9), st.floats(0.001, 3600))
def test_every_token_that_is_minted_is_read_again(now, life):
    """No rounding of times makes a token that its own gateway refuses."""
    said = claimed(
        read_asked({"user": "u", "expires_in": life}), WEB, RULES, now=now, id_="t", iss="k"
    )

    assert read(sign(said, KEY), KEY, now) == said
    assert said.iat <= now < said.iat + 0.0011
    assert said.exp - said.iat == pytest.approx(life, abs=0.001)


def test_a_token_can_do_what_both_it_and_its_key_may():
    """What the key lost since, its tokens have lost too."""
    said = made(
        {"user": "u42", "models": ["assistant", "other"], "limits": {"rpm": 50, "tpm": 9}}, NARROW
    )

    caller = holder(NARROW, RULES, said)
    assert caller.models == frozenset({"assistant", "other"})
    assert caller.token is not None
    assert (caller.token.user, caller.token.limits) == ("u42", RateLimits(50, tpm=9))
    fewer = Caller("web", "cfg_web", models=frozenset({"other"}))
    caller = holder(fewer, TokenRules(limits=RateLimits(10, 2)), said)
    assert caller.models == frozenset({"other"})
    assert caller.token is not None
    assert caller.token.limits == RateLimits(10, 2, 9)
    assert holder(WEB, RULES, said).models == frozenset({"assistant", "other"})
    assert holder(NARROW, RULES, made({"user": "u"})).models == NARROW.models
    admin = replace(WEB, scopes=frozenset({"admin"}))
    assert holder(admin, RULES, made({"user": "u"})).scopes == frozenset()


@given(st.tuples(*[numbers] * 5), st.tuples(*[numbers] * 5))
def test_limits_are_only_ever_narrowed(one, other):
    """The result allows nothing that either side does not."""
    first, second = RateLimits(*one), RateLimits(*other)
    found = narrowed(first, second)

    for name in ("rpm", "tpm", "rpd", "tpd", "parallel"):
        both = [most for most in (getattr(first, name), getattr(second, name)) if most]
        assert getattr(found, name) == min(both, default=None)


def test_a_call_is_for_whom_its_token_says():
    """What a page says of user, feature and tags does not count; session and priority do."""
    request = Request(
        "POST", "/v1/responses", tags=Tags("paid", "admin", "s1", ("vip",), "background")
    )
    caller = holder(WEB, RULES, made({"user": "u42", "tags": ["trial"]}))

    assert tagged(request, caller).tags == Tags("", "u42", "s1", ("trial",), "background")
    assert tagged(request, WEB) is request

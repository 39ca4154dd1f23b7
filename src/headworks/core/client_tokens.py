"""How a client token is spelled, signed and read: what an app's backend gives to its browsers.

A token is a JWT (RFC 7519) in its compact form, signed with HMAC-SHA-256 (HS256, RFC 7518):

    eyJhbGciOiJIUzI1NiIsInR5cCI6Imh3K2p3dCJ9 . eyJqdGkiOiJ0b2tf… . kZ3v…(43 characters)
    the same in every token                    claims, in JSON     signature of all before it

Nothing in a token chooses how it is read. Its first part is a constant and is compared as one, so
that there is no algorithm to pick; the signature is made anew and compared as text, in constant
time, so that a token has one spelling; and its claims are not looked at before that.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Annotated, Final

import msgspec

from headworks.core.admission import NO_LIMITS
from headworks.core.durations import seconds, spell
from headworks.core.keys import TOKEN_PREFIX, redact_keys
from headworks.errors import (
    CallerError,
    InvalidRequest,
    ModelNotAllowed,
    PathNotAllowed,
    Unauthenticated,
)
from headworks.types import Caller, ClientToken, RateLimits, Request

PATH: Final = "/api/client-tokens"
"""Where the data plane mints them."""
PURPOSE: Final = "client tokens"
"""Names the signing key among those that are derived from a store's pepper."""
LONGEST: Final = 3600.0
"""Seconds that a token lives at most."""
USUAL: Final = 600.0
LEEWAY: Final = 5.0
"""Seconds by which the clock of the gateway that minted a token may be ahead of ours."""
MOST: Final = 4096
"""Characters of a token: it has to fit into a head beside everything else."""
AMOUNTS: Final = ("rpm", "tpm", "rpd", "tpd", "parallel")

_MOST_LIMIT: Final = 10**12
_LONGEST_TEXT: Final = 256
_MOST_TAGS: Final = 16
_MILLI: Final = 1000

Text = Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_TEXT)]
Amount = Annotated[int, msgspec.Meta(ge=1, le=_MOST_LIMIT)]


_ALLOWED: Final = frozenset(
    f"/v1/{path}"
    for path in (
        "audio/speech",
        "audio/transcriptions",
        "audio/translations",
        "chat/completions",
        "completions",
        "embeddings",
        "images/edits",
        "images/generations",
        "images/variations",
        "moderations",
        "responses",
        "responses/input_tokens",
    )
)
"""Paths at which a POST asks a model."""
_CONNECTING: Final = frozenset({"/v1/realtime", "/v1/responses"})
"""Paths at which a WebSocket connection does; each response on it names its model, or has that of
the connection."""


class TokenExpired(Unauthenticated):
    """The client token has expired; have the app's backend mint another one."""

    code = "token_expired"


class TokenRevoked(Unauthenticated):
    """The client token was revoked, or the key that minted it is no longer valid."""

    code = "token_revoked"


class MintingNotAllowed(CallerError):
    """The key may not mint client tokens."""

    status, code = 403, "minting_not_allowed"


class BadToken(ValueError):
    """The text is no token of ours; the message says what is wrong, and nothing of the text."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What the tokens that a key mints may be.

    Attributes:
        longest: Seconds that one lives at most.
        limits: What may be done with each at most.
    """

    longest: float = LONGEST
    limits: RateLimits = NO_LIMITS


class TokenLimits(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What may be done with one token at most; what is not named has no limit."""

    rpm: Amount | None = None
    tpm: Amount | None = None
    rpd: Amount | None = None
    tpd: Amount | None = None
    parallel: Amount | None = None

    def rates(self) -> RateLimits:
        """Return them as every other limit."""
        found = RateLimits(self.rpm, self.parallel, self.tpm, self.rpd, self.tpd)
        return NO_LIMITS if found == NO_LIMITS else found


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backend asks a token for.

    Attributes:
        expires_in: Seconds, or a duration such as "10m".
        models: Names that it is for; those of the key when unset.
    """

    user: Name
    models: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1)] | None = None
    limits: TokenLimits = TokenLimits()
    expires_in: int | float | str | None = None
    feature: Text = ""
    tags: Annotated[tuple[Name, ...], msgspec.Meta(max_length=_MOST_TAGS)] = ()


class Claims(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a token says; the names that RFC 7519 registers mean what they mean there.

    Attributes:
        iss: The key that minted it, and which secret of it.
        sub: The user.
        iat: When, in seconds since 1970; `exp` is the first moment at which it is over.
    """

    jti: str
    iss: str
    sub: str
    iat: float
    exp: float
    models: tuple[str, ...] | None = None
    limits: TokenLimits = TokenLimits()
    feature: str = ""
    tags: tuple[str, ...] = ()

    def is_sound(self) -> bool:
        """Whether it has a user, and lives no longer than any token may."""
        return bool(self.sub) and 0 < self.exp - self.iat < LONGEST + 1 / _MILLI


_claims: Final = msgspec.json.Decoder(Claims)


def is_token(text: str) -> bool:
    """Whether it claims to be one of our tokens, and not a key."""
    return text.startswith(TOKEN_PREFIX)


def read_asked(fields: Mapping[str, object]) -> Asked:
    """Return what is asked of a token to be minted.

    Raises:
        InvalidRequest: It is not said as it must be; says where.
    """
    try:
        return msgspec.convert(dict(fields), Asked)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        place = path.rstrip("`").lstrip(".") or None
        where = f"{place}: " if place else ""
        raise InvalidRequest(f"{where}{what}.", param=place) from None


def sign(claims: Claims, key: bytes) -> str:
    """Return the token that says so."""
    body = TOKEN_PREFIX + _part(msgspec.json.encode(claims))
    return f"{body}.{_signature(body, key)}"


def read(text: str, key: bytes, now: float) -> Claims:
    """Return what a token says that was signed with this key, whether or not it is over.

    Raises:
        BadToken: It was not, or cannot have been by `now`, in seconds since 1970.
    """
    if len(text) > MOST:
        raise BadToken(f"it has more than {MOST} characters")
    body, dot, signature = text.rpartition(".")
    if not text.startswith(TOKEN_PREFIX):
        raise BadToken("it is of another kind")
    shown = signature.encode("utf-8", "surrogatepass")
    if not dot or not hmac.compare_digest(_signature(body, key).encode(), shown):
        raise BadToken("its signature does not match; it was cut, changed, or minted elsewhere")
    try:
        claims = _claims.decode(urlsafe_b64decode(body[len(TOKEN_PREFIX) :] + "=="))
    except ValueError as error:  # ours, by its signature, but of another version
        raise BadToken("its claims cannot be read by this version") from error
    if not claims.is_sound():
        raise BadToken("its claims are not those of a token")
    if claims.iat > now + LEEWAY:
        raise BadToken("it was minted in the future; compare the clocks")
    return claims


def _signature(body: str, key: bytes) -> str:
    return _part(hmac.digest(key, body.encode("utf-8", "surrogatepass"), sha256))


def _part(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def holder(caller: Caller, rules: TokenRules, claims: Claims) -> Caller:
    """Return who calls with a token: its key's caller as of now, within what both may do.

    What the key may no longer do, the token may not either.
    """
    models = caller.models
    if claims.models is not None:
        named = frozenset(claims.models)
        models = named if models is None else models & named
    limits = narrowed(claims.limits.rates(), rules.limits)
    token = ClientToken(claims.jti, claims.sub, claims.feature, claims.tags, limits)
    return replace(caller, models=models, scopes=frozenset(), token=token)


def narrowed(asked: RateLimits, most: RateLimits) -> RateLimits:
    """Return what both allow, of the limits that a token may have."""

    def least(name: str) -> int | None:
        both = (getattr(asked, name), getattr(most, name))
        return min((one for one in both if one is not None), default=None)

    found = RateLimits(least("rpm"), least("parallel"), least("tpm"), least("rpd"), least("tpd"))
    return NO_LIMITS if found == NO_LIMITS else found


def tagged(request: Request, caller: Caller) -> Request:
    """Return the request for whom a client token says that it is; without one, as it is."""
    token = caller.token
    if token is None:
        return request
    tags = replace(request.tags, user=token.user, feature=token.feature, tags=token.tags)
    return msgspec.structs.replace(request, tags=tags)


def check_path(request: Request) -> None:
    """Return if a client token may be used for this.

    It may ask a model, and which models there are. What a provider keeps (files, responses, …) is
    of all users of an account together, and so is nothing for one of them.

    Raises:
        PathNotAllowed: It may not.
    """
    path, method = request.path, request.method
    is_listing = path == "/v1/models" or path.startswith("/v1/models/")
    if is_listing and method in {"GET", "HEAD"}:
        return
    is_asking = request.model and method == "POST" and path in _ALLOWED
    if not (is_asking or (request.socket and path in _CONNECTING)):
        raise PathNotAllowed(
            f"A client token may ask a model by its name; {method} {path[:128]} is left to the "
            "app's backend."
        )


def claimed(
    asked: Asked, caller: Caller, rules: TokenRules, *, now: float, id_: str, iss: str
) -> Claims:
    """Return what a token is to say that a key's app asks for; `iss` is the key.

    Raises:
        InvalidRequest: More is asked for than the key's tokens may have.
        ModelNotAllowed: A model is asked for that the key may not use.
    """
    _check_texts(asked)
    _check_models(asked, caller)
    _check_limits(asked.limits, caller.limits, rules.limits)
    iat = int(now * _MILLI) / _MILLI
    return Claims(
        jti=id_,
        iss=iss,
        sub=asked.user,
        iat=iat,
        exp=round((iat + _life(asked.expires_in, rules.longest)) * _MILLI) / _MILLI,
        models=None if asked.models is None else tuple(dict.fromkeys(asked.models)),
        limits=asked.limits,
        feature=asked.feature,
        tags=tuple(dict.fromkeys(asked.tags)),
    )


def _check_texts(asked: Asked) -> None:
    for text in (asked.user, asked.feature, *asked.tags):
        if not text.isprintable() or redact_keys(text) != text:
            raise InvalidRequest(
                "user, feature and tags stand in logs and reports: they must be printable text "
                "without API keys."
            )


def _check_models(asked: Asked, caller: Caller) -> None:
    for model in asked.models or ():
        if caller.models is not None and model not in caller.models:
            raise ModelNotAllowed(
                f"The key {caller.name!r} may not use the model {model[:128]!r}, so its tokens may "
                f"not either; it may use {', '.join(sorted(caller.models))}.",
                param="models",
            )


def _check_limits(asked: TokenLimits, own: RateLimits, most: RateLimits) -> None:
    for name in AMOUNTS:
        wanted = getattr(asked, name)
        caps = [cap for cap in (getattr(own, name), getattr(most, name)) if cap is not None]
        if wanted is not None and caps and wanted > min(caps):
            raise InvalidRequest(
                f"limits.{name} is {wanted}, but tokens of this key have {min(caps)} at most.",
                param=f"limits.{name}",
            )


def _life(asked: float | str | None, longest: float) -> float:
    """Return how many seconds a token lives."""
    if asked is None:
        return min(USUAL, longest)
    life = seconds(asked[:_LONGEST_TEXT]) if isinstance(asked, str) else asked
    if life is None or not life * _MILLI >= 1:
        raise InvalidRequest(
            'expires_in must be a number of seconds above 0, or a duration such as "10m".',
            param="expires_in",
        )
    if life > longest:
        raise InvalidRequest(
            f"expires_in is longer than the {spell(longest)} that tokens of this key may live.",
            param="expires_in",
        )
    return life

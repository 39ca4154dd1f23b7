"""Client tokens at work: minted for a key, recognised again, and over when anything says so."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from headworks.core.admission import NO_LIMITS
from headworks.core.client_tokens import (
    AMOUNTS,
    MOST,
    PURPOSE,
    Asked,
    BadToken,
    Claims,
    MintingNotAllowed,
    TokenExpired,
    TokenRevoked,
    TokenRules,
    claimed,
    holder,
    read,
    sign,
)
from headworks.errors import InvalidRequest, Unauthenticated
from headworks.ports import Clock
from headworks.stores.keystore import spell_day
from headworks.stores.pepper import LONG, Pepper
from headworks.types import Caller, Secret

_ID_BYTES: Final = 12
_REMEMBERED: Final = 4096
_UNSIGNED: Final = (
    f"its key_pepper is shorter than {LONG} characters, and so could be found by trying"
)

Revocations = Mapping[tuple[str, str], float]
"""Since when tokens are over, by user and key; "" is any."""


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A key as `authenticate` needs it: from `until` on it is over, and `end` says why.

    Attributes:
        id: Names the key and this secret of it: another secret is another entry.
        tokens: What the tokens may be that it mints, None when it may not mint any.
    """

    digest: bytes
    caller: Caller
    until: float | None
    end: str
    id: str = ""
    tokens: TokenRules | None = None


@dataclass(frozen=True, slots=True)
class Minted:
    """A token that was just made; its text is shown once."""

    text: Secret
    claims: Claims
    caller: Caller

    def shown(self) -> dict[str, object]:
        """Return it as its backend sees it, its text too; times in seconds since 1970."""
        claims, caller = self.claims, self.caller
        limits = NO_LIMITS if caller.token is None else caller.token.limits
        held = {name: getattr(limits, name) for name in AMOUNTS}
        return {
            "object": "client_token",
            "id": claims.jti,
            "token": self.text.reveal(),
            "created_at": int(claims.iat),
            "expires_at": int(claims.exp),
            "key": caller.name,
            "user": claims.sub,
            "models": None if caller.models is None else sorted(caller.models),
            "limits": {name: most for name, most in held.items() if most is not None},
            "feature": claims.feature,
            "tags": list(claims.tags),
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """A token that was found to be good while its key and the revocations were these."""

    caller: Caller
    entry: KeyEntry
    revocations: Revocations
    until: float


class TokenBook:
    """Mints and recognises the tokens of a store's keys. It knows none by heart: each is signed.

    Attributes:
        revocations: What was revoked, as far as any token can still be touched by it.
    """

    def __init__(
        self, pepper: Pepper, clock: Clock, find: Callable[[str], KeyEntry | None]
    ) -> None:
        """Take a store's pepper, and what finds an entry by its id."""
        self._pepper, self._clock, self._find = pepper, clock, find
        self._key = pepper.derive(PURPOSE)
        self._known: dict[bytes, _Known] = {}
        self.revocations: Revocations = {}

    def means(self, entry: KeyEntry) -> tuple[TokenRules, bytes]:
        """Return what the tokens may be that a key mints, and what they are signed with.

        Raises:
            MintingNotAllowed: It may not mint any, or none can be signed here.
        """
        if entry.tokens is None:
            raise MintingNotAllowed(
                f"The key {entry.caller.name!r} may not mint client tokens; have its operator set "
                "client_tokens for it."
            )
        if self._key is None:
            raise MintingNotAllowed(f"This gateway signs no client tokens: {_UNSIGNED}.")
        return entry.tokens, self._key

    def mint(self, entry: KeyEntry, asked: Asked) -> Minted:
        """Return a token of a key that is in force.

        Raises:
            MintingNotAllowed: The key may not mint, or nothing can be signed here.
            CallerError: More is asked for than the key's tokens may have.
        """
        caller, (rules, key) = entry.caller, self.means(entry)
        id_ = f"tok_{secrets.token_hex(_ID_BYTES)}"
        claims = claimed(asked, caller, rules, now=self._clock.time(), id_=id_, iss=entry.id)
        text = sign(claims, key)
        if len(text) > MOST:
            raise InvalidRequest(
                f"The token would have {len(text):,} characters, and {MOST:,} are what it may "
                "have: name fewer models or tags."
            )
        return Minted(Secret(text), claims, holder(caller, rules, claims))

    def caller(self, text: str) -> Caller:
        """Return who calls with a token, or raise `Unauthenticated`. Never waits."""
        now = self._clock.time()
        if len(text) > MOST:
            raise _bad(f"it has more than {MOST:,} characters")
        digest = self._pepper.digest(text)
        known = self._known.get(digest)
        if known is None or not self._is_current(known):
            known = self._recognise(text, now)
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[digest] = known
        entry = known.entry
        if entry.until is not None and now >= entry.until:
            raise TokenRevoked(f"The key that minted this client token {entry.end}.")
        if now >= known.until:
            raise TokenExpired(
                f"This client token expired on {spell_day(known.until)}: have the app's backend "
                "mint another one."
            )
        return known.caller

    def _is_current(self, known: _Known) -> bool:
        return known.revocations is self.revocations and self._find(known.entry.id) is known.entry

    def _recognise(self, text: str, now: float) -> _Known:
        """Return what is known of a token that is good, but for the time that it has left."""
        if self._key is None:
            raise _bad(f"this gateway signs none: {_UNSIGNED}")
        try:
            claims = read(text, self._key, now)
        except BadToken as error:
            raise _bad(str(error)) from None
        entry = self._find(claims.iss)
        if entry is None:
            raise TokenRevoked("The key that minted this client token is no longer known.")
        name, rules = entry.caller.name, entry.tokens
        if rules is None:
            raise TokenRevoked(f"The key {name!r} may no longer mint client tokens.")
        if self._revoked(claims.sub, name) >= claims.iat:
            raise TokenRevoked
        caller = holder(entry.caller, rules, claims)
        if caller.models is not None and not caller.models:
            raise TokenRevoked("The key may no longer use any model of this client token.")
        until = min(claims.exp, claims.iat + rules.longest)
        return _Known(caller, entry, self.revocations, until)

    def _revoked(self, user: str, key: str) -> float:
        """Return since when a user's tokens from a key are over, the latest that is known."""
        owners = ((user, ""), ("", key), (user, key))
        return max(self.revocations.get(owner, 0.0) for owner in owners)


def _bad(reason: str) -> Unauthenticated:
    return Unauthenticated(f"Incorrect client token provided: {reason}.")

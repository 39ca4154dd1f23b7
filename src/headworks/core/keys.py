"""How a virtual key is spelled, checked and hashed.

A key reads `hw_<id>_<secret><checksum>`, in base62:

    hw_ 4fTq0ZsW1b _ 3sTw…(43 characters, 256 bits)…Zk 09Kq2c
        public id                                      CRC-32 of everything before it

The id finds the key's record and may be shown; the checksum tells a key that was cut or mistyped
from one that nobody issued, before anything is looked up; the fixed prefix lets secret scanners
find leaked keys. Only a keyed hash of the whole text is ever stored: 256 random bits need no slow
hash, and whoever steals the hashes without the pepper cannot even test a guess.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final
from zlib import crc32

from headworks.types import Secret

_LONGEST_PEPPER: Final = blake2b.MAX_KEY_SIZE

PREFIX: Final = "hw_"
ID_LENGTH: Final = 10
RANDOM_BYTES: Final = 40
"""What `mint` consumes: 8 bytes for the id, 32 for the secret."""

TOKEN_PREFIX: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6Imh3K2p3dCJ9."  # noqa: S105 - in every token
"""What every client token begins with: `{"alg":"HS256","typ":"hw+jwt"}` in base64url, and a dot."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH: Final = 43
_CHECKSUM_LENGTH: Final = 6
_FORM: Final = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECKSUM_LENGTH}}}"
)
_ID: Final = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{ID_LENGTH}}})_")
_ANYWHERE: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{ID_LENGTH}}}_[0-9A-Za-z]+")
_TOKEN: Final = re.compile(rf"{re.escape(TOKEN_PREFIX)}[0-9A-Za-z_.-]*")
_DERIVED: Final = b"headworks-derive"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made: its public id, and the text that is shown once."""

    id: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a well-formed key says of itself."""

    id: str


def mint(random_bytes: bytes) -> NewKey:
    """Spell a new key out of exactly `RANDOM_BYTES` bytes of cryptographic randomness."""
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"a key is made of {RANDOM_BYTES} random bytes, not {len(random_bytes)}")
    id_ = _base62(int.from_bytes(random_bytes[:8]), ID_LENGTH)
    body = f"{PREFIX}{id_}_{_base62(int.from_bytes(random_bytes[8:]), _SECRET_LENGTH)}"
    return NewKey(id_, Secret(body + _checksum(body)))


def parse(text: str) -> ParsedKey | None:
    """Return what the key says of itself, or None if it is not one that we can have issued."""
    form = _FORM.fullmatch(text)
    if form is None or _checksum(text[:-_CHECKSUM_LENGTH]) != text[-_CHECKSUM_LENGTH:]:
        return None
    return ParsedKey(form[1])


def digest(pepper: bytes, text: str) -> bytes:
    """Return the keyed hash (BLAKE2b-256, RFC 7693) of the whole text, whatever is in it.

    Nothing is cut, folded or normalised: keys that differ in one code point differ in their hash.
    `pepper` is of any length; one beyond BLAKE2b's 64 bytes counts by its own hash.
    """
    key = pepper if len(pepper) <= _LONGEST_PEPPER else blake2b(pepper).digest()
    return blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=32).digest()


def derive(pepper: bytes, purpose: str) -> bytes:
    """Return a key of 32 bytes for one purpose, which tells nothing of the pepper or of others.

    It is BLAKE2b, personalised: no text of a key has it as its digest.
    """
    key = pepper if len(pepper) <= _LONGEST_PEPPER else blake2b(pepper).digest()
    return blake2b(purpose.encode(), key=key, digest_size=32, person=_DERIVED).digest()


def mask(text: str) -> str:
    """Return what may be shown of a key: a part of its public id, nothing of its secret."""
    if (form := _ID.match(text)) is not None:
        return f"{PREFIX}{form[1][:3]}…{form[1][-4:]}"
    return f"{PREFIX}…" if text.startswith(PREFIX) else "***"


def redact_keys(text: str) -> str:
    """Return the text with every virtual key and client token in it, whole or cut, masked."""
    if TOKEN_PREFIX in text:
        text = _TOKEN.sub("***", text)
    return _ANYWHERE.sub(lambda found: mask(found[0]), text) if PREFIX in text else text


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

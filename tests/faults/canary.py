"""Plants secrets and looks for them where nothing secret may be, in any spelling, whole or in part."""

import base64
import json
import random
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

LEAST = 12
"""Characters of a secret that are a leak by themselves."""

_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Planted:
    """A secret, and where its secret part begins: what stands before that may be shown."""

    name: str
    value: str
    begins: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """A secret, or a part of one, found in a sink."""

    sink: str
    secret: str
    spelling: str
    at: int
    around: str


def noise(seed: str, length: int = 40) -> str:
    """Return letters and digits that stand nowhere else; the same for the same seed."""
    chance = random.Random(f"canary {seed}")
    return "".join(chance.choices(_LETTERS, k=length))


def _percent(raw: bytes) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in raw)


def _escaped(raw: bytes) -> bytes:
    return b"".join(b"\\u%04x" % byte for byte in raw)


def _plain(raw: bytes) -> bytes:
    return raw


SPELLINGS: Mapping[str, tuple[Callable[[bytes], bytes], int]] = {
    "raw": (_plain, 1),
    "reversed": (lambda raw: raw[::-1], 1),
    "hex": (lambda raw: raw.hex().encode(), 2),
    "percent": (_percent, 3),
    "escaped": (_escaped, 6),
    "utf-16": (lambda raw: raw.decode().encode("utf-16-le"), 2),
}
"""How a text may be spelled, and how many bytes a character then takes."""


def _windows(text: bytes, width: int) -> Iterator[bytes]:
    for start in range(max(1, len(text) - width + 1)):
        yield text[start : start + width]


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 of a text at each of the three places that it can have in a longer one."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + raw)
        core = encoded[(0, 2, 3)[shift] : (len(raw) + shift) * 8 // 6]
        yield core
        yield core.translate(bytes.maketrans(b"+/", b"-_"))


@dataclass
class Scanner:
    """Looks for secrets: as they are, in JSON, percent-encoded, in base64, hex and UTF-16, in part.

    Attributes:
        read: Bytes read, by sink.
    """

    secrets: Iterable[Planted]
    hits: list[Hit] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._known: dict[int, dict[bytes, tuple[str, str]]] = {}
        for secret in self.secrets:
            self._learn(secret)

    def _learn(self, secret: Planted) -> None:
        raw = secret.value[secret.begins :].encode()
        assert len(raw) >= LEAST, secret.name
        for spelling, (spell, width) in SPELLINGS.items():
            self._know(secret.name, spelling, spell(raw), LEAST * width)
        for quoted in {quote(raw, safe="").encode(), json.dumps(raw.decode())[1:-1].encode()}:
            self._know(secret.name, "quoted", quoted, LEAST)
        for form in _base64_forms(raw):
            self._know(secret.name, "base64", form, LEAST * 4 // 3)

    def _know(self, name: str, spelling: str, text: bytes, width: int) -> None:
        folded = text.lower()
        width = min(width, len(folded))
        known = self._known.setdefault(width, {})
        for window in _windows(folded, width):
            known.setdefault(window, (name, spelling))

    def scan(self, sink: str, content: bytes, *, without: Iterable[str] = ()) -> list[Hit]:
        """Read a sink; `without` names the secrets that may be there."""
        self.read[sink] = self.read.get(sink, 0) + len(content)
        folded, excused, found = content.lower(), set(without), dict[str, Hit]()
        for width, known in self._known.items():
            for at in range(len(folded) - width + 1):
                hit = known.get(folded[at : at + width])
                if hit is not None and hit[0] not in excused and hit[0] not in found:
                    around = content[max(0, at - 60) : at + 60].decode("latin-1")
                    found[hit[0]] = Hit(sink, *hit, at, around)
        self.hits += found.values()
        return list(found.values())

    def scan_folder(self, folder: Path, *, without: Iterable[str] = ()) -> None:
        """Read every file of a folder."""
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file.name not in without:
                self.scan(f"file {file.name}", file.read_bytes())

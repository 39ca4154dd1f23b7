"""The secret that all key hashes depend on; it lives beside the store, never in it."""

import base64
import binascii
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, final

from headworks.core import keys
from headworks.errors import ConfigurationError
from headworks.types import Secret

SHORTEST: Final = 16
"""Characters of a configured pepper, at least."""

LONG: Final = 32
"""Characters of a pepper from which keys are derived, at least."""

_BYTES: Final = 32


@final
class Pepper:
    """A hashing key that never shows: there is no way to read it back."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def digest(self, text: str) -> bytes:
        """Return the keyed hash of a key's text."""
        return keys.digest(self._value, text)

    def derive(self, purpose: str) -> bytes | None:
        """Return a key of 32 bytes for one purpose; the pepper itself stays here.

        None where the pepper is short: what the key signs is handed out, and whoever has that can
        try peppers against it for as long as they like.
        """
        return keys.derive(self._value, purpose) if len(self._value) >= LONG else None

    def fingerprint(self) -> bytes:
        """Return what tells this pepper from another one without giving it away."""
        return keys.digest(self._value, "headworks: which pepper is this?")[:8]


def pepper_path(store: Path) -> Path:
    """Return where the pepper of a store is kept when none is configured."""
    return store.with_name(f"{store.name}.pepper")


def load_pepper(store: Path, configured: Secret | None = None) -> Pepper:
    """Return the configured pepper, or the store's own, made at the first call and then kept.

    Raises `ConfigurationError` if there is one that cannot be read or none can be kept.
    """
    if configured is not None:
        if len(configured.reveal()) < SHORTEST:
            raise ConfigurationError([f"the key pepper must have at least {SHORTEST} characters"])
        return Pepper(configured.reveal().encode())
    path = pepper_path(store)
    try:
        if not path.exists():
            _create(path)
        return Pepper(_decode(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError([f"{path}: the key pepper: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigurationError([f"{path}: the key pepper is damaged: {error}"]) from error


def _decode(content: bytes) -> bytes:
    try:
        value = base64.b64decode(content.strip(), validate=True)
    except binascii.Error as error:
        raise ValueError("it is not base64") from error
    if len(value) != _BYTES:
        raise ValueError(f"it must be {_BYTES} bytes in base64, not {len(value)}")
    return value


def _create(path: Path) -> None:
    """Put a whole new pepper in place, unless another process was faster."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's new entry survive a power cut: its caller depends on the file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The files that callers keep with the provider, in memory and within a bound."""

from dataclasses import dataclass
from typing import Any, final

from headworks.ports import Clock
from headworks.simulator.problems import Refusal

OVERHEAD = 512
"""What a file counts besides its content, so that empty files have a bound as well."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file.

    Attributes:
        owner: Name of the credential that may see it.
        created: Seconds since 1970; `expires` likewise, None for never.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    content: bytes
    created: int
    expires: int | None = None

    def told(self) -> dict[str, Any]:
        """Return the `file` object."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": len(self.content),
            "created_at": self.created,
            "expires_at": self.expires,
            "status": "processed",
            "status_details": None,
        }


@final
class Storage:
    """All files of one simulator. What is in the making is reserved, and counts as well."""

    def __init__(self, clock: Clock, most: int) -> None:
        self._clock, self._most = clock, most
        self._files: dict[str, StoredFile] = {}
        self._used = 0

    def add(self, file: StoredFile, reserved: int = 0) -> StoredFile:
        """Keep a file for which so many bytes are reserved, or raise the refusal of a full store."""
        self.release(reserved)
        self.reserve(_size(file))
        self._files[file.id] = file
        return file

    def reserve(self, size: int) -> None:
        """Set bytes aside until they are released, or raise the refusal of a full store."""
        if size > self._most - self._used:
            self._forget_expired()
        if size > self._most - self._used:
            raise Refusal(
                400,
                f"You have exceeded your file storage quota of {self._most} bytes. Please delete "
                "files that you no longer need and try again.",
                code="storage_limit_exceeded",
            )
        self._used += size

    def release(self, size: int) -> None:
        """Give back what was reserved."""
        self._used -= size

    def find(self, name: str, owner: str) -> StoredFile:
        """Return a file, or raise the refusal of one that is not there for this owner."""
        file = self._files.get(name)
        if file is None or file.owner != owner or self._is_over(file):
            raise unknown_file(name)
        return file

    def delete(self, file: StoredFile) -> None:
        """Forget a file."""
        del self._files[file.id]
        self._used -= _size(file)

    def of(self, owner: str) -> list[StoredFile]:
        """Return the files of one owner, oldest first."""
        self._forget_expired()
        return [file for file in self._files.values() if file.owner == owner]

    def reset(self) -> None:
        """Forget all files and reservations."""
        self._files.clear()
        self._used = 0

    def _forget_expired(self) -> None:
        for file in [file for file in self._files.values() if self._is_over(file)]:
            self.delete(file)

    def _is_over(self, file: StoredFile) -> bool:
        return file.expires is not None and file.expires <= self._clock.time()


def _size(file: StoredFile) -> int:
    return len(file.content) + OVERHEAD


def unknown_file(name: str) -> Refusal:
    """Refuse a file that does not exist, or not for this caller."""
    return Refusal(404, f"No such File object: {name}", param="id")

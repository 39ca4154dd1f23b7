"""Files that come in parts: what has arrived of each, until it is complete, cancelled or too late."""

from dataclasses import dataclass, field
from typing import Any, Literal, final

from headworks.ports import Clock
from headworks.simulator.problems import Refusal
from headworks.simulator.storage import OVERHEAD, Storage, StoredFile

_LIFETIME = 3_600
_MOST_KEPT = 10_000


@dataclass(slots=True)
class Assembly:
    """One upload.

    Attributes:
        size: Bytes that the whole will have; so many are reserved while it is pending.
        lifetime: Seconds that the file will live, None for the usual.
        parts: What has arrived, by the id of the part.
    """

    id: str
    owner: str
    filename: str
    purpose: str
    size: int
    created: int
    lifetime: int | None = None
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    parts: dict[str, bytes] = field(default_factory=dict[str, bytes])
    file: StoredFile | None = None

    @property
    def expires(self) -> int:
        """When it is too late, in seconds since 1970."""
        return self.created + _LIFETIME

    def told(self) -> dict[str, Any]:
        """Return the `upload` object."""
        return {
            "id": self.id,
            "object": "upload",
            "bytes": self.size,
            "created_at": self.created,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": self.status,
            "expires_at": self.expires,
            "file": self.file.told() if self.file else None,
        }


@final
class Uploads:
    """All uploads of one simulator."""

    def __init__(self, clock: Clock, storage: Storage) -> None:
        self._clock, self._storage = clock, storage
        self._known: dict[str, Assembly] = {}

    def begin(self, upload: Assembly) -> None:
        """Take a new upload and set its bytes aside, or raise the refusal of a full store."""
        self._expire()
        if len(self._known) >= _MOST_KEPT:
            oldest = next((u for u in self._known.values() if u.status != "pending"), None)
            if oldest is None:
                raise Refusal(429, "Too many uploads are pending.", code="rate_limit_exceeded")
            del self._known[oldest.id]
        self._storage.reserve(upload.size + OVERHEAD)
        self._known[upload.id] = upload

    def pending(self, name: str, owner: str) -> Assembly:
        """Return an upload that goes on, or raise the refusal of any other."""
        self._expire()
        upload = self._known.get(name)
        if upload is None or upload.owner != owner:
            raise Refusal(404, f"Upload with id '{name}' not found.")
        if upload.status != "pending":
            message = f"Upload '{name}' is {upload.status}: it takes nothing any more."
            raise Refusal(400, message, code="invalid_upload_status")
        return upload

    def end(self, upload: Assembly, status: Literal["completed", "cancelled", "expired"]) -> None:
        """End an upload, and give back what it held."""
        upload.status = status
        upload.parts.clear()
        self._storage.release(upload.size + OVERHEAD)

    def reset(self) -> None:
        """Forget all uploads."""
        self._known.clear()

    def _expire(self) -> None:
        now = self._clock.time()
        for upload in self._known.values():
            if upload.status == "pending" and upload.expires <= now:
                self.end(upload, "expired")

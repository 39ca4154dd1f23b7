"""What an endpoint sees of a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    filename: str
    content: bytes
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Asked:
    """One authenticated request.

    Attributes:
        credential: Name of the key, never the key.
        serial: 48 hexadecimal digits that no other request has, for ids.
        created: Seconds since 1970.
        fields: The JSON object, or the fields of a form.
        names: What stands in the placeholders of the route's path.
        query: The parameters after the question mark; of a repeated one the last.
        uploads: The files of a form, by name in their order.
        origin: Where the request reached us, such as `http://127.0.0.1:8080`.
        ordered: The fault that it meets, "" for none; some decide how an answer is made.
    """

    method: str
    path: str
    credential: str
    serial: str
    created: int
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    uploads: Mapping[str, Sequence[Upload]] = field(default_factory=dict[str, Sequence[Upload]])
    origin: str = ""
    ordered: str = ""

    @property
    def model(self) -> str:
        """The model that is named, "" for none."""
        model = self.fields.get("model")
        return model if isinstance(model, str) else ""

    def upload(self, name: str) -> Upload | None:
        """Return the file of this name, the last of several, None when there is none."""
        return next(reversed(self.uploads.get(name, ())), None)

"""The paths under /v1/uploads: a file in parts, put together in the order that its owner names."""

import hashlib
from collections.abc import Mapping
from typing import Any

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.files import PURPOSES, check_file, expiry, new_file
from headworks.simulator.fields import (
    check_known,
    check_text,
    is_list,
    needed,
    one_of,
    whole_number,
)
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Listing
from headworks.simulator.uploading import Assembly

_KNOWN = frozenset({"bytes", "filename", "mime_type", "purpose", "expires_after"})
_LARGEST = 8 << 30
_LARGEST_PART, _MOST_PARTS = 64 << 20, 10_000


def create_upload(provider: Provider, asked: Asked) -> Listing:
    """Begin an upload."""
    fields = asked.fields
    check_known(fields, _KNOWN)
    for name in ("filename", "mime_type", "purpose"):
        check_text(name, needed(fields, name))
    size = whole_number(fields, "bytes", _LARGEST) or needed(fields, "bytes")
    purpose = str(one_of(fields, "purpose", PURPOSES))
    check_file(fields["filename"], purpose, 0)
    upload = Assembly(
        f"upload_{asked.serial[:32]}",
        asked.credential,
        fields["filename"],
        purpose,
        size,
        asked.created,
        expiry(fields, "expires_after"),
    )
    provider.uploads.begin(upload)
    return Listing(upload.told())


def add_part(provider: Provider, asked: Asked) -> Listing:
    """Take a part; parts may come at the same time and in any order."""
    upload = provider.uploads.pending(asked.names["upload"], asked.credential)
    part = asked.upload("data")
    if part is None:
        raise problems.missing("data")
    if len(upload.parts) >= _MOST_PARTS:
        raise Refusal(400, f"An upload may have up to {_MOST_PARTS} parts.", param="data")
    if len(part.content) > _LARGEST_PART:
        message = (
            f"A part may have up to {_LARGEST_PART} bytes, but this one has {len(part.content)}."
        )
        raise Refusal(400, message, param="data")
    arrived = len(part.content) + sum(map(len, upload.parts.values()))
    if arrived > upload.size:
        message = f"The parts have {arrived} bytes, more than the {upload.size} of the upload."
        raise Refusal(400, message, param="data")
    name = f"part_{asked.serial[:32]}"
    upload.parts[name] = part.content
    return Listing(
        {"id": name, "object": "upload.part", "created_at": asked.created, "upload_id": upload.id}
    )


def complete_upload(provider: Provider, asked: Asked) -> Listing:
    """Put the parts together, as a file like any other."""
    upload = provider.uploads.pending(asked.names["upload"], asked.credential)
    content = _joined(upload, asked.fields)
    name = f"file-{asked.serial[:22]}"
    file = new_file(name, asked, upload.filename, upload.purpose, content, upload.lifetime)
    provider.uploads.end(upload, "completed")
    upload.file = provider.storage.add(file)
    return Listing(upload.told())


def cancel_upload(provider: Provider, asked: Asked) -> Listing:
    """Throw away what has arrived."""
    upload = provider.uploads.pending(asked.names["upload"], asked.credential)
    provider.uploads.end(upload, "cancelled")
    return Listing(upload.told())


def _joined(upload: Assembly, fields: Mapping[str, Any]) -> bytes:
    check_known(fields, frozenset({"part_ids", "md5"}))
    names = needed(fields, "part_ids")
    if not is_list(names) or not all(isinstance(name, str) for name in names):
        raise problems.wrong_field("part_ids", "an array of strings", names)
    unknown = next((name for name in names if name not in upload.parts), None)
    if unknown is not None:
        raise Refusal(400, f"Part '{unknown}' not found.", param="part_ids")
    if len(set(names)) < len(names):
        raise Refusal(400, "A part is named twice.", param="part_ids")
    content = b"".join(upload.parts[name] for name in names)
    if len(content) != upload.size:
        message = f"The parts have {len(content)} bytes, but the upload has {upload.size}."
        raise Refusal(400, message, param="part_ids")
    given, found = fields.get("md5"), hashlib.md5(content, usedforsecurity=False).hexdigest()
    if given is not None and str(given).lower() != found:
        message = f"The md5 checksum of the parts is '{found}', but '{given}' is expected."
        raise Refusal(400, message, param="md5")
    return content

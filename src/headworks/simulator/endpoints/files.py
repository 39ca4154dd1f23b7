"""The paths under /v1/files: each credential has files of its own."""

from collections.abc import Mapping
from typing import Any

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.fields import is_map, needed, one_of, whole_number
from headworks.simulator.paging import page
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Listing, Raw
from headworks.simulator.storage import StoredFile

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_SECRET = frozenset({"assistants", "user_data", "vision"})
"""What cannot be read back."""

_MOST_LISTED = 10_000
_LARGEST, _LARGEST_BATCH = 512 * 10**6, 200 * 10**6
_MONTH = 30 * 86_400
_SHORTEST, _LONGEST = 3_600, _MONTH


def create_file(provider: Provider, asked: Asked) -> Listing:
    """Keep the file of a form."""
    purpose = str(one_of(asked.fields, "purpose", PURPOSES) or needed(asked.fields, "purpose"))
    lifetime = expiry(asked.fields, "expires_after")
    upload = asked.upload("file")
    if upload is None:
        raise problems.missing("file")
    check_file(upload.filename, purpose, len(upload.content))
    name = f"file-{asked.serial[:22]}"
    file = new_file(name, asked, upload.filename, purpose, upload.content, lifetime)
    return Listing(provider.storage.add(file).told())


def new_file(
    name: str, asked: Asked, filename: str, purpose: str, content: bytes, lifetime: int | None
) -> StoredFile:
    """Return a new file of whoever asks; one for a batch lives 30 days unless told otherwise."""
    if lifetime is None and purpose == "batch":
        lifetime = _MONTH
    expires = None if lifetime is None else asked.created + lifetime
    return StoredFile(name, asked.credential, filename, purpose, content, asked.created, expires)


def list_files(provider: Provider, asked: Asked) -> Listing:
    """Return the caller's files, newest first."""
    purpose = asked.query.get("purpose")
    files = provider.storage.of(asked.credential)
    told = [file.told() for file in files if purpose in {None, file.purpose}]
    return page(told, asked.query, _MOST_LISTED, _MOST_LISTED)


def one_file(provider: Provider, asked: Asked) -> Listing:
    """Return one file's description."""
    return Listing(provider.storage.find(asked.names["file"], asked.credential).told())


def delete_file(provider: Provider, asked: Asked) -> Listing:
    """Forget one file."""
    file = provider.storage.find(asked.names["file"], asked.credential)
    provider.storage.delete(file)
    return Listing({"object": "file", "deleted": True, "id": file.id})


def file_content(provider: Provider, asked: Asked) -> Raw:
    """Return one file's bytes."""
    file = provider.storage.find(asked.names["file"], asked.credential)
    if file.purpose in _SECRET:
        raise Refusal(400, f"Not allowed to download files of purpose: {file.purpose}")
    return Raw(file.content, "application/octet-stream")


def check_file(filename: str, purpose: str, size: int) -> None:
    """Refuse a file that is too large, or of a kind that its purpose does not take."""
    most = _LARGEST_BATCH if purpose == "batch" else _LARGEST
    if size > most:
        raise Refusal(
            413,
            f"The file is too large: {size} bytes. Files of purpose '{purpose}' may have up to "
            f"{most} bytes.",
            param="file",
        )
    if purpose in {"batch", "fine-tune"} and not filename.endswith(".jsonl"):
        name = "Batch API" if purpose == "batch" else "Fine-Tuning API"
        raise Refusal(400, f"Invalid file format for {name}. Must be .jsonl", param="file")


def expiry(fields: Mapping[str, Any], name: str) -> int | None:
    """Return the seconds that a file shall live, None when the field is not there."""
    given = fields.get(name)
    if given is None:
        return None
    if not is_map(given):
        raise problems.wrong_field(name, "an object", given)
    needed(given, "anchor", f"{name}.")
    one_of(given, "anchor", ("created_at",), f"{name}.")
    seconds = needed(given, "seconds", f"{name}.")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:9])
    field = f"{name}.seconds"
    return whole_number({field: seconds}, field, _LONGEST, least=_SHORTEST)

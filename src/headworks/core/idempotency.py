"""What makes two requests the same one, and what of an answer is kept for the second."""

from hashlib import sha256

import msgspec

from headworks.core.multipart import BodyDigest, form_of
from headworks.errors import CallerError, CallError, InvalidRequest
from headworks.types import Caller, Headers, Request

_LONGEST = 255
_FIRST, _LAST = 0x21, 0x7E
_OF_ONE_CALL = (b"x-headworks-", b"x-ratelimit-")
_OF_ONE_ANSWER = frozenset({b"x-request-id", b"content-length"})


class IdempotencyKeyInUse(CallerError):
    """A call with this idempotency key is still under way."""

    status, code, should_retry = 409, "idempotency_key_in_use", True


class IdempotentAnswerNotKept(CallerError):
    """The call with this idempotency key was answered, but its answer was too large to be kept."""

    status, code = 409, "idempotent_answer_not_kept"


class IdempotencyKeyReused(CallerError):
    """This idempotency key was used for another request."""

    status, code = 422, "idempotency_key_reused"


class IdempotencyUnavailable(CallError):
    """It cannot be looked up now whether this call was made before, so it is not made."""

    status, code, should_retry = 503, "idempotency_unavailable", True


def idempotency_key(request: Request) -> str:
    """Return the key that the caller has given the request, "" for none. Only a POST has one.

    Raises:
        InvalidRequest: It is no key: 1 to 255 visible characters.
    """
    for name, value in request.headers:
        if name == b"idempotency-key" and request.method == "POST":
            if 0 < len(value) <= _LONGEST and all(_FIRST <= byte <= _LAST for byte in value):
                return value.decode()
            raise InvalidRequest("Idempotency-Key must have 1 to 255 visible characters.")
    return ""


def without_key(request: Request) -> Request:
    """Return the request as it goes on: its key is of this gateway's callers, one each.

    Callers who share a credential could otherwise meet in a provider's memory.
    """
    headers = tuple(field for field in request.headers if field[0] != b"idempotency-key")
    return msgspec.structs.replace(request, headers=headers)


def place(caller: Caller, key: str) -> bytes:
    """Return what stands for a virtual key's idempotency key, or for a user's of its tokens."""
    whose = caller.key_id if caller.token is None else f"{caller.key_id}\0{caller.token.user}"
    return sha256(f"{whose}\0{key}".encode()).digest()


def fingerprint(request: Request) -> bytes:
    """Return what only an equal request has."""
    whole = sha256(f"{request.method} {request.path}?".encode())
    whole.update(request.query + b"\0")
    whole.update(_digest(request))
    return whole.digest()


def _digest(request: Request) -> bytes:
    if request.upload is not None:
        return request.upload.digest
    form = form_of(dict(request.headers).get(b"content-type", b""))
    if form is None:
        return request.content
    digest = BodyDigest(form)
    digest.update(request.content)
    return digest.result()


def kept_headers(headers: Headers) -> Headers:
    """Return the fields that a replay has as well: all but those that tell of one call."""
    return tuple(
        field
        for field in headers
        if field[0] not in _OF_ONE_ANSWER and not field[0].startswith(_OF_ONE_CALL)
    )

"""What the admin plane answers with: JSON that no browser may keep, frame or run."""

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

SAFETY = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def answer(status: int, content: Mapping[str, object]) -> Response:
    """Return the content as JSON."""
    return Response(
        msgspec.json.encode(content),
        status,
        headers={**SAFETY, "content-type": "application/json"},
    )


def refuse(status: int, code: str, message: str) -> Response:
    """Return an error in the API's shape."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return answer(status, {"error": error})

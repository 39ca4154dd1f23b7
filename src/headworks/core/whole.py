"""Reads what a whole answer tells of itself, beside what it says."""

from typing import Any

import msgspec

from headworks.core.stream_base import NOTHING, is_json, without_halves
from headworks.errors import MalformedResponse


class Whole(msgspec.Struct):
    """The fields of any whole answer that we look at."""

    usage: msgspec.Raw = NOTHING
    error: msgspec.Raw = NOTHING
    service_tier: Any = None
    status: Any = None
    id: msgspec.Raw = NOTHING


_decode = msgspec.json.Decoder(Whole).decode


def read_whole(content: bytes, *, must_be_json: bool) -> Whole | None:
    """Return what an answer tells of itself, None if it is of another shape.

    Halves of characters in its texts do no harm: what they are to be is its caller's business.

    Raises:
        MalformedResponse: It is not JSON, and has to be.
    """
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        legible = without_halves(content)
    try:
        return _decode(legible)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        is_odd = isinstance(error, msgspec.ValidationError) and is_json(legible)
        if must_be_json and not is_odd:
            raise MalformedResponse("The provider's answer is not valid JSON.") from None
        return None

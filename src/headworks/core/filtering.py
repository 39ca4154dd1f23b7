"""Tells from a whole answer whether the provider's content filter stopped it."""

import msgspec

from headworks.core.classify import classify
from headworks.core.shapes import as_fields, as_list

_SIGN = "content_filter"


def is_filtered(whole: bytes) -> bool:
    """Return whether an answer ended by the provider's content filter. A refusal is none."""
    if b'"content_filter"' not in whole and b'"failed"' not in whole:
        return False
    try:
        answer = as_fields(msgspec.json.decode(whole))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    choices = (as_fields(one) for one in as_list(answer.get("choices")))
    if any(choice.get("finish_reason") == _SIGN for choice in choices):
        return True
    if answer.get("status") == "failed":
        return classify(200, (), whole, now=0.0).failure == _SIGN
    return as_fields(answer.get("incomplete_details")).get("reason") == _SIGN

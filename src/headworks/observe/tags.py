"""Takes secrets out of what a caller says its call is for, before anything remembers it."""

from dataclasses import replace

import msgspec

from headworks.core.keys import redact_keys
from headworks.observe.log import Redaction
from headworks.types import Request, Secret, Tags

_SHORTEST_KEY = 16
"""No key is shorter; what is shorter is no secret, and may well be a part of a word."""


class TagRedaction:
    """Masks known secrets, the caller's own key and anybody's virtual key in a request's tags."""

    def __init__(self, redaction: Redaction) -> None:
        self._word, self._words = redaction.word, redaction.words

    def redact(self, request: Request, key: Secret | None) -> Request:
        """Return the request with clean tags: itself, if they are clean."""
        tags = request.tags
        if not (tags.user or tags.feature or tags.session or tags.tags):
            return request
        shown = "" if key is None else key.reveal()
        clean = self._redacted(tags, shown if len(shown) >= _SHORTEST_KEY else "")
        return request if clean is tags else msgspec.structs.replace(request, tags=clean)

    def _redacted(self, tags: Tags, key: str) -> Tags:
        parts = (tags.feature, tags.user, tags.session, *tags.tags)
        if max(map(len, parts)) < _SHORTEST_KEY:
            clean = self._words(parts)
        else:
            clean = tuple([self._text(part, key) for part in parts])
        if clean == parts:
            return tags
        return replace(tags, feature=clean[0], user=clean[1], session=clean[2], tags=clean[3:])

    def _text(self, text: str, key: str) -> str:
        if len(text) < _SHORTEST_KEY:
            return self._word(text)
        text = redact_keys(text)
        return self._word(text.replace(key, "***") if key else text)

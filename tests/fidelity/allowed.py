"""The one table of differences that are meant to be, each with its reason.

The practice OpenAI plays the API as it is, not as it was: most entries are keys that came while the
recordings were made. Such an entry holds for recordings before its day, and for no later one. An
entry that no recording needs is an error: see test_fidelity.py.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.fidelity.differences import Difference
from tests.fidelity.recordings import Exchange

_FOREIGN = re.compile(
    rb'"type": ?"(apply_patch|computer|image_generation|mcp)_\w+"|"type": ?"(compaction|tool_search|additional_tools)'
)


@dataclass(frozen=True)
class LeftOut:
    """Recordings that witness nothing about the API."""

    reason: str
    applies: Callable[[Exchange], bool]


LEFT_OUT = (
    LeftOut(
        "answered by Azure behind the same host, as its filter results show",
        lambda one: b"content_filter_result" in one.body or "x-ratelimit-key" in one.headers,
    ),
    LeftOut(
        "head edited by hand: no date, so nothing says what else is made up",
        lambda one: bool(one.headers) and "date" not in one.headers,
    ),
    LeftOut(
        "thinned out by hand: an item's text ends, and the item does not",
        lambda one: "_retrieve_streaming" in one.cassette,
    ),
    LeftOut(
        "runs a hosted tool that the practice OpenAI does not have",
        lambda one: bool(_FOREIGN.search(one.body + json.dumps(one.request).encode())),
    ),
    LeftOut(
        "usage came though the recorded request does not ask for it: it is not the one that was sent",
        lambda one: "test_streaming_tool_call_v1_v2_parity" in one.cassette,
    ),
)


@dataclass(frozen=True)
class Allowed:
    """A difference that is meant to be. All texts are patterns that match the whole.

    Attributes:
        before: The day from which on the real API did otherwise, "" if it still does.
    """

    where: str
    reason: str
    real: str = ".*"
    ours: str = ".*"
    before: str = ""
    endpoint: str = ".*"
    cassette: str = ".*"

    def covers(self, recorded: Exchange, difference: Difference) -> bool:
        """Return whether this is the difference that is meant."""
        return (not self.before or "" < recorded.day < self.before) and all(
            re.fullmatch(pattern, text, re.DOTALL)
            for pattern, text in (
                (self.endpoint, difference.endpoint),
                (self.where, difference.where),
                (self.real, difference.real),
                (self.ours, difference.ours),
                (self.cassette, recorded.cassette),
            )
        )


def _came(where: str, day: str, endpoint: str = ".*") -> Allowed:
    """Return the entry of a key that the API has had since a day."""
    return Allowed(where, f"came by {day}", "absent", before=day, endpoint=endpoint)


_CHAT = r"POST /v1/chat/completions( stream)?"
_EMBEDDINGS = "POST /v1/embeddings"
_RESPONSES = r"(POST|GET) /v1/responses.*"
_STREAM = "POST /v1/responses stream"
_RATES = r"header x-ratelimit-.*"


_HISTORY = (
    _came(r".*\.refusal", "2024-09-27", _CHAT),
    _came(r".*\.usage\.(prompt|completion)_tokens_details(\..*)?", "2024-11-11"),
    _came(r".*\.message\.annotations", "2025-03-22", _CHAT),
    _came(r".*[.:]\.?service_tier", "2025-05-31", _CHAT),
    _came(r"header openai-project", "2025-08-01"),
    _came(r".*:\.obfuscation", "2025-08-07"),
    _came(r".*\.(max_tool_calls|top_logprobs)", "2025-06-26", _RESPONSES),
    _came(r".*(\[output_text\]|\.part|output_text\.\w+:)\.logprobs", "2025-06-26", _RESPONSES),
    _came(r".*\.(prompt_cache_key|safety_identifier)", "2025-07-28", _RESPONSES),
    _came(r".*\.text\.verbosity", "2025-08-07", _RESPONSES),
    _came(r".*\.action\.queries", "2025-08-01", _RESPONSES),
    _came(r".*\.tools\[function\]\.parameters\.additionalProperties", "2025-08-01", _RESPONSES),
    _came(r".*\.billing", "2025-10-03", _RESPONSES),
    _came(r".*\.prompt_cache_retention", "2025-11-07", _RESPONSES),
    _came(r".*\.(completed_at|(frequency|presence)_penalty)", "2026-02-13", _RESPONSES),
    _came(r".*\.moderation", "2026-04-23", _RESPONSES),
    _came(r".*\.reasoning\.context", "2026-05-27", _RESPONSES),
    _came(r".*(\[reasoning\]|\.item)\.(content|encrypted_content)", "2026-08-14", _RESPONSES),
    _came(r".*\.(tool_usage|cache_write_tokens|reasoning\.mode)", "2026-08-14", _RESPONSES),
    _came(r".*\.tools\[function\]\.output_schema", "2026-09-04", _RESPONSES),
    _came(r".*\.access_programs", "2026-09-08", _RESPONSES),
    _came(_RATES, "2026-09-28", _STREAM),
    Allowed(
        r".*\.prompt_cache_retention",
        "says what holds where nothing was asked for, since 2026-04-18",
        real="null",
        ours="string",
        before="2026-04-18",
        endpoint=_RESPONSES,
    ),
    _came(r".*\.(logprobs|system_fingerprint)", "2024-03-01", _CHAT),
    _came(r"header x-ratelimit-\w+-input-images", "2026-03-31", _CHAT),
    Allowed(
        r"header (content-type|openai-processing-ms|openai-version)",
        "unknown models were refused by another layer, last seen in 2025-05",
        real=r"absent|application/json; charset=utf-8",
        before="2025-06-01",
        cassette=r".*_(404|not_found|error_handling)\.yaml",
    ),
    Allowed(
        r".*[.:]\.?system_fingerprint",
        "gpt-3.5 had one until 2024-05",
        real="string",
        ours="null",
        before="2024-05-01",
        endpoint=_CHAT,
    ),
    Allowed(
        r"header openai-model",
        "went from chat by 2024-06",
        real="word",
        ours="absent",
        before="2024-06-01",
        endpoint=_CHAT,
    ),
    Allowed(
        "status",
        "dall-e-2 took `quality` until 2026",
        real="200 ",
        ours=r"400 Unknown parameter: 'quality'\.",
        before="2026-03-31",
        endpoint="POST /v1/images/generations",
    ),
    Allowed(
        r"header content-type",
        "named no charset until 2024-06",
        real="text/event-stream",
        ours="text/event-stream; charset=utf-8",
        before="2024-06-01",
        endpoint=_CHAT,
    ),
)

_WITHOUT_NAMES = (
    "test_langgraph/.*|test_structured_output/.*|test_tool_calls/.*"
    "|test_langchain_metrics/test_langgraph_metrics"
    "|.*_with_messages_attributes"
)

_RECORDERS = (
    Allowed(
        r"\.completed_at",
        "a completed response whose status was changed by hand",
        real="number",
        ours="null",
        cassette=r".*_retrieve_(failed_generation|incomplete).*",
    ),
    Allowed(r"header x-request-id", "written over by the recorder", "word", "request id"),
    Allowed(
        r"header (openai-organization|openai-project|x-request-id)",
        "taken out by the recorder",
        real="absent",
        cassette=rf".*/({_WITHOUT_NAMES})\.yaml",
    ),
    Allowed(
        _RATES,
        "taken out by the recorder",
        real="absent",
        cassette=r".*/test_(async_)?structured_output_(no|with)_content\.yaml",
    ),
)

_MEANT = (
    Allowed(
        r"header content-type",
        "all streams have one type; the oldest endpoint still names no charset",
        real="text/event-stream",
        ours="text/event-stream; charset=utf-8",
        endpoint="POST /v1/completions stream",
    ),
    Allowed(
        _RATES,
        "an image is looked at before the request is admitted, not after",
        ours="absent",
        cassette=r".*/test_vision/test_vision_base64.*",
    ),
    Allowed(
        r"outline: (reasoning|a reasoning summary)|.*\.output\[reasoning\]|.*\[summary_text\]",
        "a model may answer at once, and may think without a summary",
        real="absent",
        ours="present|object",
        endpoint=_RESPONSES,
    ),
    Allowed(
        r"outline: a message before the call|.*\.output\[message\]",
        "a model may speak before it calls",
        real="present|object",
        ours="absent",
        endpoint=_RESPONSES,
    ),
    Allowed(
        "status",
        "nothing is downloaded, so no download fails",
        real=r"400 Error while downloading .*",
        ours="200 ",
    ),
    Allowed(
        r".*\.access_programs(\.cyber)?",
        "the recorded organisation takes part in a programme, the practice one does not",
        real="object|string",
        ours="null|absent",
        endpoint=_RESPONSES,
    ),
)

ALLOWED = (*_HISTORY, *_RECORDERS, *_MEANT)

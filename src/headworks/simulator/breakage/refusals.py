"""Errors to order: any status in its usual words, with any form of Retry-After."""

from email.utils import formatdate

from headworks.simulator import problems
from headworks.simulator.config import FaultRule
from headworks.simulator.problems import Refusal

_CODES = {
    401: "invalid_api_key",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_is_overloaded",
}
_MESSAGES = {
    401: "Incorrect API key provided: sk-***. You can find your API key at "
    "https://platform.openai.com/account/api-keys.",
    403: "You are not allowed to access this resource.",
    408: "Request timed out.",
    500: "The server had an error while processing your request. Sorry about that!",
    503: "The server is currently overloaded with other requests. Sorry about that!",
}
_TYPES = {
    "rate_limit_exceeded": "requests",
    "slow_down": "rate_limit_error",
    "server_is_overloaded": "service_unavailable_error",
    **dict.fromkeys(
        (
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
        ),
        "insufficient_quota",
    ),
}
_FIRST_SERVER_STATUS = 500
_REDIRECTIONS = (301, 302, 303, 308, 307)
_DATE = "date "


def ordered(rule: FaultRule, model: str, time: float) -> Refusal:
    """Return the refusal that a fault rule asks for, in the usual words of its status."""
    code = rule.code or _CODES.get(rule.status)
    kind = "server_error" if rule.status >= _FIRST_SERVER_STATUS else "invalid_request_error"
    kind = _TYPES.get(code or "", kind)
    wait = rule.retry_after
    message = _MESSAGES.get(rule.status, f"The request failed with status {rule.status}.")
    if kind == "insufficient_quota":
        message = problems.QUOTA
    elif code == "rate_limit_exceeded":
        wait = 1 if wait is None else wait
        told = f"{wait:g}s" if isinstance(wait, int | float) else "1s"
        message = (
            f"Rate limit reached for {model or 'default'} in organization org-simulator on "
            f"requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in {told}."
        )
    message = rule.message or message
    return Refusal(
        rule.status,
        message + " " * max(0, (rule.size or 0) - len(message)),
        type=rule.type or kind,
        code=code,
        headers={**_waits(wait, rule.retry_after_ms, time), **rule.headers},
        html=rule.html,
    )


def redirect(rule: FaultRule) -> Refusal:
    """Return an answer that sends the client elsewhere."""
    return Refusal(
        rule.status if rule.status in _REDIRECTIONS else _REDIRECTIONS[-1],
        "Moved.",
        headers={"location": rule.location, **rule.headers},
        html=True,
    )


def filtered() -> Refusal:
    """Return the refusal of a prompt that must not be answered."""
    return Refusal(
        400,
        "Invalid prompt: your prompt was flagged as potentially violating our usage policy. Please "
        "try again with a different prompt: https://platform.openai.com/docs/guides/reasoning"
        "#advice-on-prompting",
        code="invalid_prompt",
    )


def _waits(
    seconds: float | str | None, milliseconds: float | str | None, time: float
) -> dict[str, str]:
    given = {"retry-after": seconds, "retry-after-ms": milliseconds}
    return {
        name: _spelled(value, time)
        for name, value in given.items()
        if value is not None and value != "none"
    }


def _spelled(value: float | str, time: float) -> str:
    if not isinstance(value, str):
        return f"{value:.15g}"
    later = value.removeprefix(_DATE)
    if later == value:
        return value
    try:
        return formatdate(time + float(later), usegmt=True)
    except (ValueError, OverflowError, OSError):
        return value

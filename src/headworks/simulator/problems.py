"""The refusals of the practice OpenAI, in the words of the real one."""

from collections.abc import Mapping
from typing import Any

import msgspec

_KEYS_PAGE = "https://platform.openai.com/account/api-keys"
_SHOWN_FROM = 20
"""Length from which a key shows its ends: of a shorter one they would be too much."""

QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more "
    "information on this error, read the docs: "
    "https://platform.openai.com/docs/guides/error-codes/api-errors."
)
HTML = (
    "<html>\r\n<head><title>{0} Error</title></head>\r\n<body>\r\n<center><h1>{0} Error</h1>"
    "</center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)
_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal number",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class Refusal(Exception):
    """An answer that is an error. Headers and body are as they go onto the wire."""

    def __init__(  # noqa: PLR0913 - one fact of the error object each
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",  # noqa: A002 - the wire's own word
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        html: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.html = status, html
        kind = "text/html" if html else "application/json"
        self.headers = {"content-type": kind, **(headers or {})}
        self.error: dict[str, Any] = {
            "message": message,
            "type": type,
            "param": param,
            "code": code,
        }

    @property
    def content(self) -> bytes:
        """The body."""
        if self.html:
            return HTML.format(self.status).encode()
        return msgspec.json.format(msgspec.json.encode({"error": self.error}), indent=2)


def no_key() -> Refusal:
    """Refuse a request without a key."""
    return Refusal(
        401,
        "You didn't provide an API key. You need to provide your API key in an Authorization "
        "header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY), or as the password field "
        "(with blank username) if you're accessing the API from your browser and are prompted for "
        f"a username and password. You can obtain an API key from {_KEYS_PAGE}.",
    )


def wrong_key(key: str) -> Refusal:
    """Refuse an unknown key; the message shows its ends alone, and of a short one nothing."""
    shown = f"{key[:3]}{'*' * 12}{key[-4:]}" if len(key) >= _SHOWN_FROM else "*" * 12
    shown = shown.encode("ascii", "replace").decode()
    return Refusal(
        401,
        f"Incorrect API key provided: {shown}. You can find your API key at {_KEYS_PAGE}.",
        code="invalid_api_key",
    )


def unknown_path(method: str, path: str) -> Refusal:
    """Refuse a path that does not exist."""
    return Refusal(404, f"Invalid URL ({method} {path})")


def wrong_method(method: str, path: str) -> Refusal:
    """Refuse a method that the path does not know."""
    return Refusal(405, f"Not allowed to {method} on {path}.", code="method_not_supported")


def wrong_type(content_type: str, wanted: str = "application/json") -> Refusal:
    """Refuse a body that does not claim to be what the path takes."""
    return Refusal(
        400,
        f"Unsupported content type: '{content_type}'. This API method only accepts "
        f"'{wanted}' requests, but you specified the header "
        f"'Content-Type: {content_type}'. Please try again with a supported content type.",
        code="unsupported_content_type",
    )


def not_json() -> Refusal:
    """Refuse a body that is not a JSON object."""
    return Refusal(
        400,
        "We could not parse the JSON body of your request. (HINT: This likely means you aren't "
        "using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was "
        "sent was not valid JSON. If you have trouble figuring out how to fix this, please contact "
        "us through our help center at help.openai.com.)",
    )


def no_model() -> Refusal:
    """Refuse a request that names no model."""
    return Refusal(400, "you must provide a model parameter")


def unknown_model(model: str, kind: str) -> Refusal:
    """Refuse a model that is not served, in the words of the endpoint."""
    if kind == "responses":
        return Refusal(
            400,
            f"The requested model '{model}' does not exist.",
            param="model",
            code="model_not_found",
        )
    if kind == "models":
        return Refusal(
            404, f"The model '{model}' does not exist", param="model", code="model_not_found"
        )
    return Refusal(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def missing(param: str) -> Refusal:
    """Refuse a request that lacks a field."""
    return Refusal(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def wrong_field(param: str, expected: str, value: object) -> Refusal:
    """Refuse a field of the wrong type."""
    got = _NAMES.get(type(value), "null")
    return Refusal(
        400,
        f"Invalid type for '{param}': expected {expected}, but got {got} instead.",
        param=param,
        code="invalid_type",
    )


def wrong_value(param: str, wanted: str, value: object) -> Refusal:
    """Refuse a field of the right type with a value out of range."""
    return Refusal(
        400,
        f"Invalid '{param}': expected {wanted}, but got {value} instead.",
        param=param,
        code="invalid_value",
    )


def empty_array(param: str) -> Refusal:
    """Refuse an empty list."""
    return Refusal(
        400,
        f"Invalid '{param}': empty array. Expected an array with minimum length 1, but got an "
        "empty array instead.",
        param=param,
        code="empty_array",
    )


def too_long(kind: str, limit: int, tokens: int, *, thinks: bool = False) -> Refusal:
    """Refuse a prompt that does not fit, with the counts where the endpoint tells them."""
    code: str | None = "context_length_exceeded"
    if kind == "responses":
        text = "Your input exceeds the context window of this model. Please adjust your input and try again."
        return Refusal(400, text, param="input", code=code)
    text = f"This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens. Please reduce the length of the messages."
    if thinks:
        text = f"Input tokens exceed the configured limit of {limit} tokens. Your messages resulted in {tokens} tokens. Please reduce the length of the messages."
    param: str | None = "messages"
    if kind in {"embeddings", "completions"}:
        text = f"This model's maximum context length is {limit} tokens, however you requested {tokens} tokens ({tokens} in your prompt; 0 for the completion). Please reduce your prompt; or completion length."
        code = param = None
    return Refusal(400, text, param=param, code=code)


def too_large() -> Refusal:
    """Refuse a body above what the server takes."""
    return Refusal(413, "The request is larger than this server takes.", code="request_too_large")


def no_connection() -> Refusal:
    """Refuse a fault that strikes the connection where the server lends none."""
    return Refusal(
        501,
        "This fault strikes the connection itself, which this server does not lend: run the "
        "simulator by `headworks simulate` or `headworks.simulator.running()`.",
        code="no_connection",
    )


def too_many(param: str, asked: int, most: int) -> Refusal:
    """Refuse an output bound above the model's."""
    return Refusal(
        400,
        f"{param} is too large: {asked}. This model supports at most {most} completion tokens, "
        f"whereas you provided {asked}.",
        param=param,
        code="invalid_value",
    )


def unknown_response(name: str) -> Refusal:
    """Refuse to go on from a response that is not stored here."""
    return Refusal(
        400,
        f"Previous response with id '{name}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )

"""What a client token is good for: asking models, and nothing that a provider keeps."""

import pytest

from headworks.core.client_tokens import check_path
from headworks.errors import PathNotAllowed
from headworks.types import Request


@pytest.mark.parametrize(
    ("method", "path", "model", "is_allowed"),
    [
        ("POST", "/v1/chat/completions", "assistant", True),
        ("POST", "/v1/responses", "assistant", True),
        ("POST", "/v1/embeddings", "assistant", True),
        ("POST", "/v1/audio/transcriptions", "assistant", True),
        ("SOCKET", "/v1/realtime", "assistant", True),
        ("SOCKET", "/v1/responses", "", True),
        ("SOCKET", "/v1/responses", "assistant", True),
        ("SOCKET", "/v1/files", "", False),
        ("GET", "/v1/realtime", "assistant", False),
        ("POST", "/v1/realtime", "assistant", False),
        ("POST", "/v1/realtime/calls", "assistant", False),
        ("POST", "/v1/realtime/client_secrets", "assistant", False),
        ("GET", "/v1/responses", "assistant", False),
        ("GET", "/v1/models", "", True),
        ("HEAD", "/v1/models/assistant", "", True),
        ("DELETE", "/v1/models/assistant", "assistant", False),
        ("POST", "/v1/chat/completions", "", False),
        ("GET", "/v1/chat/completions", "assistant", False),
        ("POST", "/v1/responses/resp_1/cancel", "assistant", False),
        ("GET", "/v1/responses/resp_1", "", False),
        ("GET", "/v1/files", "", False),
        ("POST", "/v1/files", "assistant", False),
        ("POST", "/v1/batches", "assistant", False),
        ("POST", "/v1/fine_tuning/jobs", "assistant", False),
        ("POST", "/v1/vector_stores/vs_1/search", "assistant", False),
        ("GET", "/v1/organization/users", "", False),
        ("POST", "/v1/of-tomorrow", "assistant", False),
    ],
)
def test_a_token_may_ask_models_and_nothing_else(method, path, model, is_allowed):
    """What a provider keeps is of all users together: none of them lists, reads or deletes it."""
    is_socket = method == "SOCKET"
    fields = {"model": model} if model else {}
    request = Request("GET" if is_socket else method, path, fields=fields, socket=is_socket)

    if is_allowed:
        check_path(request)
    else:
        with pytest.raises(PathNotAllowed):
            check_path(request)

"""Which path is answered by which endpoint."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.endpoints.audio import speech
from headworks.simulator.endpoints.batches import (
    cancel_batch,
    create_batch,
    list_batches,
    one_batch,
)
from headworks.simulator.endpoints.chat import ChatReply
from headworks.simulator.endpoints.completions import CompletionsReply
from headworks.simulator.endpoints.conversations import (
    add_items,
    create_conversation,
    delete_conversation,
    delete_item,
    list_items,
    one_conversation,
    one_item,
    update_conversation,
)
from headworks.simulator.endpoints.embeddings import EmbeddingsReply
from headworks.simulator.endpoints.files import (
    create_file,
    delete_file,
    file_content,
    list_files,
    one_file,
)
from headworks.simulator.endpoints.images import edits, generations, variations
from headworks.simulator.endpoints.input_tokens import count_input
from headworks.simulator.endpoints.models import list_models, one_model
from headworks.simulator.endpoints.moderations import ModerationsReply
from headworks.simulator.endpoints.responses import ResponsesReply
from headworks.simulator.endpoints.stored_chats import (
    delete_chat,
    list_chats,
    list_messages,
    one_chat,
    update_chat,
)
from headworks.simulator.endpoints.stored_responses import (
    cancel_response,
    delete_response,
    list_input_items,
    one_response,
)
from headworks.simulator.endpoints.transcripts import transcriptions, translations
from headworks.simulator.endpoints.uploads import (
    add_part,
    cancel_upload,
    complete_upload,
    create_upload,
)
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body

Takes = Literal["json", "form", "either", "nothing"]


class Route(NamedTuple):
    """One method on one path.

    Attributes:
        path: With `{name}` where anything but a slash may stand.
        answer: Returns the answer, or raises its refusal.
        takes: What the body must be.
        settles: Whether what batches have to do by now is done first.
    """

    method: str
    path: str
    answer: Callable[[Provider, Asked], Body]
    takes: Takes = "nothing"
    settles: bool = False


ROUTES: Sequence[Route] = (
    Route("POST", "/v1/chat/completions", ChatReply, "json"),
    Route("GET", "/v1/chat/completions", list_chats),
    Route("GET", "/v1/chat/completions/{chat}", one_chat),
    Route("POST", "/v1/chat/completions/{chat}", update_chat, "json"),
    Route("DELETE", "/v1/chat/completions/{chat}", delete_chat),
    Route("GET", "/v1/chat/completions/{chat}/messages", list_messages),
    Route("POST", "/v1/completions", CompletionsReply, "json"),
    Route("POST", "/v1/responses", ResponsesReply, "json"),
    Route("POST", "/v1/responses/input_tokens", count_input, "json"),
    Route("GET", "/v1/responses/{response}", one_response),
    Route("DELETE", "/v1/responses/{response}", delete_response),
    Route("POST", "/v1/responses/{response}/cancel", cancel_response),
    Route("GET", "/v1/responses/{response}/input_items", list_input_items),
    Route("POST", "/v1/conversations", create_conversation, "json"),
    Route("GET", "/v1/conversations/{conversation}", one_conversation),
    Route("POST", "/v1/conversations/{conversation}", update_conversation, "json"),
    Route("DELETE", "/v1/conversations/{conversation}", delete_conversation),
    Route("GET", "/v1/conversations/{conversation}/items", list_items),
    Route("POST", "/v1/conversations/{conversation}/items", add_items, "json"),
    Route("GET", "/v1/conversations/{conversation}/items/{item}", one_item),
    Route("DELETE", "/v1/conversations/{conversation}/items/{item}", delete_item),
    Route("POST", "/v1/embeddings", EmbeddingsReply, "json"),
    Route("POST", "/v1/moderations", ModerationsReply, "json"),
    Route("POST", "/v1/images/generations", generations, "json"),
    Route("POST", "/v1/images/edits", edits, "either"),
    Route("POST", "/v1/images/variations", variations, "form"),
    Route("POST", "/v1/audio/speech", speech, "json"),
    Route("POST", "/v1/audio/transcriptions", transcriptions, "form"),
    Route("POST", "/v1/audio/translations", translations, "form"),
    Route("POST", "/v1/files", create_file, "form", settles=True),
    Route("GET", "/v1/files", list_files, settles=True),
    Route("GET", "/v1/files/{file}", one_file, settles=True),
    Route("DELETE", "/v1/files/{file}", delete_file, settles=True),
    Route("GET", "/v1/files/{file}/content", file_content, settles=True),
    Route("POST", "/v1/uploads", create_upload, "json", settles=True),
    Route("POST", "/v1/uploads/{upload}/parts", add_part, "form"),
    Route("POST", "/v1/uploads/{upload}/complete", complete_upload, "json"),
    Route("POST", "/v1/uploads/{upload}/cancel", cancel_upload),
    Route("POST", "/v1/batches", create_batch, "json", settles=True),
    Route("GET", "/v1/batches", list_batches, settles=True),
    Route("GET", "/v1/batches/{batch}", one_batch, settles=True),
    Route("POST", "/v1/batches/{batch}/cancel", cancel_batch, settles=True),
    Route("GET", "/v1/models", list_models),
    Route("GET", "/v1/models/{model}", one_model),
)

_NO_NAMES: Mapping[str, str] = {}
_PLAIN = {(route.method, route.path): route for route in ROUTES if "{" not in route.path}
_PATTERNS = [
    (re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path)), route)
    for route in ROUTES
    if "{" in route.path
]


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]]:
    """Return the route of a request and what stands in its placeholders.

    Raises:
        Refusal: There is no such path, or it does not know the method.
    """
    plain = _PLAIN.get((method, path))
    if plain is not None:
        return plain, _NO_NAMES
    fitting = [(route, match) for form, route in _PATTERNS if (match := form.fullmatch(path))]
    for route, match in fitting:
        if route.method == method:
            return route, match.groupdict()
    if fitting or any(path == known for _, known in _PLAIN):
        raise problems.wrong_method(method, path)
    raise problems.unknown_path(method, path)

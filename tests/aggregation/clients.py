"""Official clients that get an answer which is already there."""

import httpx2
import openai

_STREAM = {"content-type": "text/event-stream"}


def _answering(body: bytes) -> httpx2.MockTransport:
    return httpx2.MockTransport(lambda _: httpx2.Response(200, headers=_STREAM, content=body))


def client(body: bytes) -> openai.OpenAI:
    """Return a client to which the answer to everything is a stream of these bytes."""
    http = httpx2.Client(transport=_answering(body))
    return openai.OpenAI(api_key="sk-none", base_url="http://here/v1", http_client=http)


def async_client(body: bytes) -> openai.AsyncOpenAI:
    """Return the asynchronous one."""
    http = httpx2.AsyncClient(transport=_answering(body))
    return openai.AsyncOpenAI(api_key="sk-none", base_url="http://here/v1", http_client=http)

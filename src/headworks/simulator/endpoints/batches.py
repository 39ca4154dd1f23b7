"""The paths under /v1/batches: what a batch is created with, and what is told about it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from headworks.core.tokens import Kind, count_request, encoding_of
from headworks.simulator.asked import Asked
from headworks.simulator.batch import Batch, Order
from headworks.simulator.batch_input import Input
from headworks.simulator.batch_work import Desk, Work
from headworks.simulator.endpoints.chat import ChatReply
from headworks.simulator.endpoints.completions import CompletionsReply
from headworks.simulator.endpoints.embeddings import EmbeddingsReply
from headworks.simulator.endpoints.files import expiry
from headworks.simulator.endpoints.images import edits, generations
from headworks.simulator.endpoints.moderations import ModerationsReply
from headworks.simulator.endpoints.responses import ResponsesReply
from headworks.simulator.fields import check_known, check_metadata, check_text, needed, one_of
from headworks.simulator.paging import page
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body, Listing

RUNS: Mapping[str, Callable[[Provider, Asked], Body]] = {
    "/v1/responses": ResponsesReply,
    "/v1/chat/completions": ChatReply,
    "/v1/embeddings": EmbeddingsReply,
    "/v1/completions": CompletionsReply,
    "/v1/moderations": ModerationsReply,
    "/v1/images/generations": generations,
    "/v1/images/edits": edits,
}
"""What answers the requests of a batch, by its endpoint."""

_KINDS: Mapping[str, Kind] = {
    "/v1/responses": "responses",
    "/v1/chat/completions": "chat",
    "/v1/embeddings": "embeddings",
    "/v1/moderations": "embeddings",
    "/v1/completions": "completions",
    "/v1/images/generations": "completions",
    "/v1/images/edits": "completions",
}
"""How the tokens of a request are counted, by its endpoint."""

_KNOWN = frozenset(
    {"input_file_id", "endpoint", "completion_window", "metadata", "output_expires_after"}
)
_MONTH = 30 * 86_400
_MOST_LISTED, _USUALLY_LISTED = 100, 20


def create_batch(provider: Provider, asked: Asked) -> Listing:
    """Begin a batch; what is wrong with its file shows later."""
    fields = asked.fields
    check_known(fields, _KNOWN)
    for name in ("input_file_id", "endpoint", "completion_window"):
        check_text(name, needed(fields, name))
    endpoint = str(one_of(fields, "endpoint", tuple(RUNS)))
    one_of(fields, "completion_window", ("24h",))
    check_metadata(fields)
    kept = expiry(fields, "output_expires_after") or _MONTH
    file = provider.storage.find(fields["input_file_id"], asked.credential)
    if file.purpose != "batch":
        message = f"Invalid file purpose: expected 'batch', but got '{file.purpose}' instead."
        raise Refusal(400, message, param="input_file_id", code="invalid_value")
    now, pace = provider.clock.time(), provider.config.batch_pace()
    order = Order(
        id=f"batch_{asked.serial[:32]}",
        owner=asked.credential,
        endpoint=endpoint,
        input_file=file.id,
        created=now,
        expires=now + pace.window,
        run=partial(RUNS[endpoint], provider),
        metadata=fields.get("metadata"),
        kept=kept,
    )
    return Listing(_begin(provider, order, file.content).told())


def list_batches(provider: Provider, asked: Asked) -> Listing:
    """Return the caller's batches, newest first."""
    told = [work.batch.told() for work in provider.batches.of(asked.credential)]
    return page(told, {**asked.query, "order": "desc"}, _MOST_LISTED, _USUALLY_LISTED)


def one_batch(provider: Provider, asked: Asked) -> Listing:
    """Return one batch."""
    return Listing(provider.batches.find(asked.names["batch"], asked.credential).batch.told())


def cancel_batch(provider: Provider, asked: Asked) -> Listing:
    """Stop a batch; what is done stays done, and is billed."""
    work = provider.batches.find(asked.names["batch"], asked.credential)
    provider.batches.cancel(work)
    return Listing(work.batch.told())


def _begin(provider: Provider, order: Order, content: bytes) -> Batch:
    account = provider.accounts.named(order.owner)

    def weigh(body: Mapping[str, Any]) -> int:
        group = provider.limiter.group(str(body.get("model", "")), account.project)
        if group is None or group.limit.batch_tokens is None:
            return 0
        count = partial(provider.tokenizer.count, encoding=encoding_of(str(body.get("model"))))
        return count_request(body, count, _KINDS[order.endpoint])

    batch = Batch(order)
    given = Input(content, order.endpoint, provider.models.is_served, weigh)
    desk = Desk(
        pace=provider.config.batch_pace(),
        seed=provider.config.seed,
        storage=provider.storage,
        books=provider.books,
        models=provider.models,
        limiter=provider.limiter,
        account=account,
        strike=provider.strike,
    )
    provider.storage.reserve(batch.reserved)
    provider.batches.begin(Work(desk, batch, given))
    return batch

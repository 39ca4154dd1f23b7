"""Whole answers from streams, for programs that use this library: `headworks.aggregate`."""

from collections.abc import AsyncIterable, Coroutine, Iterable
from typing import Any, overload

from headworks.core.aggregate import MOST, Aggregator

__all__ = ["Aggregator", "aggregate"]


@overload
def aggregate(events: Iterable[object], most: int = MOST) -> dict[str, Any] | None: ...
@overload
def aggregate(
    events: AsyncIterable[object], most: int = MOST
) -> Coroutine[None, None, dict[str, Any] | None]: ...
def aggregate(
    events: Iterable[object] | AsyncIterable[object], most: int = MOST
) -> dict[str, Any] | Coroutine[None, None, dict[str, Any] | None] | None:
    """Read a stream to its end and return the answer that it would have been without streaming.

    Args:
        events: What `Aggregator.feed` takes, one after the other, or all that was on the wire. Of
            an asynchronous iterable the answer is to be awaited.
        most: Bytes to put together, at most.

    Returns:
        The answer as far as it was told, None where nothing was or there was more than `most`;
        an `Aggregator` of your own tells which, and whether the answer is complete.
    """
    answer = Aggregator(most)
    if isinstance(events, AsyncIterable):
        return _aggregate(answer, events)
    for event in (events,) if isinstance(events, bytes | str) else events:
        answer.feed(event)
    answer.finish()
    return answer.result()


async def _aggregate(answer: Aggregator, events: AsyncIterable[object]) -> dict[str, Any] | None:
    async for event in events:
        answer.feed(event)
    answer.finish()
    return answer.result()

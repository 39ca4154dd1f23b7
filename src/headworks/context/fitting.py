"""Fits requests to their models' windows before they are sent, and again when a provider refuses."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any, ParamSpec, Protocol, TypeVar

import msgspec

from headworks.context.windows import Windows
from headworks.core.context import (
    Policy,
    asking,
    bound,
    has_past,
    is_plain,
    margin,
    shorten,
    summary_message,
    too_long,
    transcript,
    unmarked,
    without,
)
from headworks.core.context_window import Budget, Window, budget, corrected, is_too_long, told
from headworks.core.tokens import Encoding, Kind, count_request, encoding_of
from headworks.errors import CallError, ContextTooLong, NoRouteLeft
from headworks.types import Call, Fitted, Request

_KINDS: Mapping[str, Kind] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/completions": "completions",
}
_BIG = 65_536
"""Bytes of a request from which on counting would keep the other calls waiting."""

MOST_SUMMARY = 1_000
"""Tokens of a summary."""
SUMMARY_OUTPUT = 4_000
"""Tokens that its model may write, thoughts included."""

_SMALLER = 0.95
_SUMMARY_SHARE = 4
_FRAME = 200
"""Tokens around a text that is to be summed up: what is asked for, and whose it is."""
_INTRODUCTION, _LEAST_SUMMARY = 32, 32

_REFUSE = Policy()
_HINT = (
    "Shorten it, ask for a shorter answer, or have a strategy configured as the model's context."
)
_NO_HINT = "What has to stay of it (system, marked and last messages) does not fit. Shorten it."
P = ParamSpec("P")
T = TypeVar("T")


class Counter(Protocol):
    """Counts the tokens of a text, and cuts it."""

    def count(self, text: str, encoding: Encoding) -> int:
        """Return the exact number of tokens; may block while a vocabulary loads."""
        ...

    def truncate(self, text: str, most: int, encoding: Encoding) -> tuple[str, int]:
        """Return the longest prefix of so many tokens, and the tokens of the whole."""
        ...

    def is_loaded(self, encoding: Encoding) -> bool:
        """Return whether counting begins at once."""
        ...


class Summariser(Protocol):
    """Sums up what is left out."""

    async def summarise(self, text: str, model: str, parent: Call) -> tuple[str, str]:
        """Return the summary, "" when there is none, and the id of the call that made it."""
        ...


class Task(msgspec.Struct, frozen=True):
    """One request to be fitted: what to do, and how to count for whoever will get it."""

    request: Request
    policy: Policy
    kind: Kind
    model: str
    window: Window
    counter: Counter

    def limit(self) -> Budget | None:
        """Return what the request may hold, None when no limit is known."""
        policy = self.policy
        return budget(self.window, self.request.fields, policy.window, policy.reserve)

    def raw(self, fields: Mapping[str, Any]) -> int:
        """Return the tokens of a request's fields, as our formulas count them."""
        count = partial(self.counter.count, encoding=encoding_of(self.model))
        return count_request({**fields, "model": self.model}, count, self.kind)

    def size(self, fields: Mapping[str, Any]) -> int:
        """Return the tokens that the provider may count.

        A request that would be refused gets no margin: the provider may yet take it.
        """
        tokens = ceil(self.raw(fields) * self.window.factor)
        return tokens if self.policy.strategy == "error" else tokens + margin(fields, tokens)


@dataclass(frozen=True, slots=True)
class Fitting:
    """Fulfils `ports.Context` for the models that a policy is configured for.

    Attributes:
        policies: By the name that apps ask for.
        places: Where each of these names, and each that a policy names, leads first.
    """

    policies: Mapping[str, Policy]
    places: Mapping[str, str]
    windows: Windows
    counter: Counter
    summaries: Summariser

    async def fit(self, request: Request, call: Call) -> Request:
        """Return a request that fits its model's window, by the model's own strategy.

        Raises:
            ContextTooLong: It does not fit, and may not be changed so that it does.
        """
        policy = self.policies.get(request.model)
        return unmarked(request) if policy is None else await self._fit(request, policy, call)

    async def refit(self, call: Call, error: CallError) -> Request | None:
        """Learn from a provider's refusal; return a smaller request where one may be sent.

        Once a call: what is still too long then is the provider's to explain.
        """
        request, before = call.request, call.fitted
        policy, refused, place = self.policies.get(request.model), _refused(error), _place(call)
        if policy is None or refused is None or not place:
            return None
        task = self._task(request, policy, place)
        if task is None:
            return None
        said, ours = told(str(refused)), await self._run(task, task.raw, request.fields)
        self.windows.learn(place, said, ours, is_plain=is_plain(request))
        if not _may_go_again(request, policy, before):
            return None
        window = corrected(task.window, said, ours)
        try:
            smaller = await self._smaller(msgspec.structs.replace(task, window=window), call)
        except ContextTooLong:
            call.fitted = before
            return None
        if call.fitted is not None:
            call.fitted = replace(call.fitted, again=True)
        return smaller

    async def _fit(self, request: Request, policy: Policy, call: Call) -> Request:
        task = self._task(request, policy, self.places[request.model])
        limit = None if task is None else task.limit()
        if task is None or limit is None:
            return unmarked(request)
        if bound(request.content, request.fields) * task.window.factor <= limit.room:
            return unmarked(request)
        tokens = await self._run(task, task.size, request.fields)
        if tokens <= limit.room:
            return unmarked(request)
        return await self._shorter(task, tokens, limit, call)

    async def _smaller(self, task: Task, call: Call) -> Request:
        """Return a request smaller than one that a provider refused, whatever we had counted."""
        tokens = await self._run(task, task.size, task.request.fields)
        known, most = task.limit(), int(tokens * _SMALLER)
        limit = Budget(most, 0) if known is None or known.room > most else known
        return await self._shorter(task, tokens, limit, call)

    async def _shorter(self, task: Task, tokens: int, limit: Budget, call: Call) -> Request:
        """Do what the policy says with a request that is too long."""
        request, policy = task.request, task.policy
        if policy.strategy == "larger_model":
            call.fitted = Fitted(policy.strategy, tokens, tokens, model=policy.model)
            larger = self.policies.get(policy.model, _REFUSE)
            return await self._fit(asking(request, policy.model), larger, call)
        if policy.strategy == "error" or limit.room <= 0:
            raise too_long(request, tokens, limit, _HINT)
        if policy.strategy == "summarize":
            summed = await self._summed_up(task, tokens, limit, call)
            if summed is not None:
                return summed
        found = await self._run(task, shorten, request, policy, limit.room, task.size)
        if found is None:
            raise too_long(request, tokens, limit, _NO_HINT)
        strategy = "drop_oldest" if policy.strategy == "summarize" else policy.strategy
        after = await self._run(task, task.size, found.request.fields)
        _note(call, Fitted(strategy, tokens, after, len(found.dropped)))
        return found.request

    async def _summed_up(
        self, task: Task, tokens: int, limit: Budget, call: Call
    ) -> Request | None:
        """Return the request with a summary of what was dropped, None when none can be had."""
        request, policy = task.request, task.policy
        spare = min(MOST_SUMMARY, limit.room // _SUMMARY_SHARE)
        most = int(spare / task.window.factor) - _INTRODUCTION
        found = await self._run(task, shorten, request, policy, limit.room - spare, task.size)
        if found is None or most < _LEAST_SUMMARY:
            return None
        text = await self._run(task, self._material, request, found.dropped, policy.model)
        if not text:
            return None
        summary, id_ = await self.summaries.summarise(text, policy.model, call)
        if not summary:
            return None
        summary, _ = self.counter.truncate(summary, most, encoding_of(task.model))
        summed = without(request, set(found.dropped), summary_message(summary))
        after = await self._run(task, task.size, summed.fields)
        if after > limit.room:
            return None
        done = Fitted(policy.strategy, tokens, after, len(found.dropped), policy.model, summary=id_)
        _note(call, done)
        return summed

    def _material(self, request: Request, dropped: Sequence[int], model: str) -> str:
        """Return the text to be summed up, at most as long as the model that does it can read."""
        place = self.places[model]
        text, window = transcript(request, dropped), self.windows.window(place)
        limit = budget(window, {}, None, SUMMARY_OUTPUT)
        if limit is None or limit.room >= bound(text.encode(errors="replace"), {}):
            return text
        most = max(0, int(limit.room / window.factor * _SMALLER) - _FRAME)
        return self.counter.truncate(text, most, encoding_of(place))[0]

    def _task(self, request: Request, policy: Policy, place: str) -> Task | None:
        kind = _KINDS.get(request.path)
        if kind is None or request.method != "POST":
            return None
        model = place.partition("/")[2]
        window = self.windows.window(place)
        return Task(request, policy, kind, model, window, self.counter)

    async def _run(self, task: Task, work: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """Do what takes milliseconds for a big request, or waits for a vocabulary, in a thread."""
        is_quick = len(task.request.content) < _BIG
        if is_quick and self.counter.is_loaded(encoding_of(task.model)):
            return work(*args, **more)
        return await asyncio.to_thread(work, *args, **more)


def _refused(error: CallError) -> CallError | None:
    """Return what a provider said of a request that is too long for it, if one did."""
    failures = error.failures if isinstance(error, NoRouteLeft) else (error,)
    return next((one for one in reversed(failures) if is_too_long(one)), None)


def _place(call: Call) -> str:
    """Return where a call's request was too long, "" if it was sent nowhere."""
    too_long_at = (one.route for one in reversed(call.trail) if one.failure == "context_length")
    route = next(too_long_at, call.route)
    return "" if route is None else str(route)


def _may_go_again(request: Request, policy: Policy, before: Fitted | None) -> bool:
    """Return whether something else than what was refused may be sent.

    Not where the provider adds what it keeps: dropping what is new would not help.
    """
    if policy.strategy == "error" or (before is not None and before.again):
        return False
    return policy.strategy == "larger_model" or not has_past(request)


def _note(call: Call, done: Fitted) -> None:
    """Note what was done to a call's request, beside what was done to it before."""
    before = call.fitted
    if before is not None:
        done = replace(
            done,
            before=before.before,
            dropped=before.dropped + done.dropped,
            model=done.model or before.model,
            summary=done.summary or before.summary,
        )
    call.fitted = done

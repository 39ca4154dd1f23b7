"""A model that stands in the path or the query is found there, and replaced there."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.endpoints import normalise
from headworks.core.naming import models_within, named_model, renamed, session_model
from headworks.errors import InvalidRequest


@dataclass(frozen=True)
class Case:
    path: str
    query: bytes
    model: str
    to: str = ""
    asked: bytes = b""


CASES = (
    Case("/v1/models/alias", b"", "alias", "/v1/models/gpt-6"),
    Case("/v1/models/ft:gpt-4o:acme::x", b"a=b", "ft:gpt-4o:acme::x", "/v1/models/gpt-6", b"a=b"),
    Case("/v1/models", b"model=x", ""),
    Case("/v1/fine_tuning/checkpoints/alias/permissions", b"", "alias", "/v1/fine_tuning/checkpoints/gpt-6/permissions"),
    Case("/v1/fine_tuning/jobs/alias", b"", ""),
    Case("/v1/realtime/calls", b"a=1&model=alias&b=2", "alias", "/v1/realtime/calls", b"a=1&model=gpt-6&b=2"),
    Case("/v1/realtime/calls", b"%6dodel=al%69as", "alias", "/v1/realtime/calls", b"model=gpt-6"),
    Case("/v1/realtime/calls", b"modelx=alias", ""),
    Case("/v1/files", b"model=alias", ""),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_model_of_a_path(case: Case):
    """Only where a place is known to name the model is it read, and changed."""
    assert named_model(case.path, case.query) == case.model
    to = (case.to, case.asked) if case.model else (case.path, case.query)
    assert renamed(case.path, case.query, "gpt-6") == to


@given(
    st.text(
        st.characters(codec="ascii", exclude_characters="/\\;%?# .", categories=["L", "N", "P"]),
        min_size=1,
    )
)
def test_any_name_comes_back(model: str):
    """What is put into a path or a query is what is read there."""
    path, _ = renamed("/v1/models/x", b"", model)
    assert named_model(normalise(path), b"") == model
    _, query = renamed("/v1/realtime", b"model=x", model)
    assert named_model("/v1/realtime", query) == model


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/realtime", b"model=a&model=b"),
        ("/v1/realtime", b"model=a&%6dodel=b"),
        ("/v1/models/" + "x" * 257, b""),
    ],
)
def test_what_names_two_or_too_much_is_refused(path: str, query: bytes):
    """Which of two models a provider would take is not ours to guess."""
    with pytest.raises(InvalidRequest):
        named_model(path, query)


@pytest.mark.parametrize(
    ("path", "fields", "model"),
    [
        ("/v1/realtime/client_secrets", {"session": {"model": "alias"}}, "alias"),
        ("/v1/realtime/calls", {"sdp": "v=0", "session": {"model": "alias"}}, "alias"),
        ("/v1/realtime/client_secrets", {"session": {"type": "transcription"}}, ""),
        ("/v1/realtime/client_secrets", {"session": {"model": None}}, ""),
        ("/v1/realtime/client_secrets", {"session": "alias"}, ""),
        ("/v1/of-tomorrow", {"session": {"model": "alias"}}, ""),
    ],
)
def test_the_model_of_a_session(path: str, fields: dict[str, Any], model: str):
    """A session that a body describes has a model, and its call is about that."""
    assert session_model(path, fields) == model


@pytest.mark.parametrize("model", [["alias"], 5, "x" * 257], ids=str)
def test_a_sessions_model_is_a_name(model: object):
    """What is no name cannot be held against what a key may use."""
    with pytest.raises(InvalidRequest):
        session_model("/v1/realtime/client_secrets", {"session": {"model": model}})


@pytest.mark.parametrize(
    ("fields", "of_tools", "everywhere"),
    [
        ({"tools": [{"type": "image_generation", "model": "a"}]}, ["a"], ["a"]),
        ({"tools": [{"parameters": {"properties": {"model": {"type": "string"}}}}]}, [], []),
        ({"tools": "x", "tool": {"model": "a"}}, [], ["a"]),
        ({"data_source": {"model": "a", "sampling": [{"model": "b"}]}}, [], ["a", "b"]),
        ({"testing_criteria": [{"grader": {"model": "a"}}]}, [], ["a"]),
        ({"metadata": {"model": "a"}, "input": [{"model": "a"}]}, [], []),
        ({"prompt": {"id": "p", "variables": {"model": "a"}}}, [], []),
        ({"data_source": {"source": {"content": [{"item": {"model": "a"}}]}}}, [], []),
        ({"messages": [{"model": "a"}]}, [], []),
    ],
    ids=str,
)
def test_models_below_the_top(fields: dict[str, Any], of_tools: list[str], everywhere: list[str]):
    """Whatever else may ask a model is found; what a caller fills as it likes is left alone."""
    assert sorted(models_within(fields, everywhere=False)) == of_tools
    assert sorted(models_within(fields, everywhere=True)) == everywhere

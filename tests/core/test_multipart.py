"""Forms are read as they pass, in one way or not at all."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.multipart import MOST_HEAD, MOST_PARTS, BodyDigest, FormReader, form_of
from headworks.errors import InvalidRequest

KIND = b"multipart/form-data; boundary=b0und"
FILE = b'; filename="a.mp3"'


def part(name: bytes, value: bytes, more: bytes = b"", lines: bytes = b"") -> bytes:
    head = b'Content-Disposition: form-data; name="%b"%b%b' % (name, more, lines)
    return b"--b0und\r\n%b\r\n\r\n%b\r\n" % (head, value)


END = b"--b0und--\r\n"
WHOLE = (
    part(b"file", b"\r\n--b0un \r\n--\xff" * 50, FILE)
    + part(b"model", b"whisper-1")
    + part(b"stream", b"True")
    + part(b"note", b"")
    + END
)


def read(content: bytes, *cuts: int, kind: bytes = KIND, has_model: bool = True) -> FormReader:
    """Return the reader of a form that came in pieces."""
    form = form_of(kind, has_model=has_model)
    assert form is not None
    places = [0, *sorted(cuts), len(content)]
    for start, end in pairwise(places):
        form.feed(content[start:end])
    form.end()
    return form


@given(st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_however_a_form_is_cut_it_says_the_same(cuts: list[int]):
    """Fields, and the place of the model, do not depend on how the network cuts the bytes."""
    form = read(WHOLE, *cuts)
    assert form.fields == {"model": "whisper-1", "stream": True, "note": ""}
    assert form.model_at is not None
    begin, end = form.model_at
    assert WHOLE[begin:end] == b"whisper-1"


def test_byte_by_byte():
    """The same holds for the smallest pieces there are."""
    assert read(WHOLE, *range(len(WHOLE))).model_at == read(WHOLE).model_at


BODIES = st.binary(max_size=60).filter(lambda body: b"--b0und" not in body)


@given(
    st.lists(st.sampled_from([b"--", b"b", b"--b", b"-", b"\0--\0", b"x"])),
    st.lists(st.integers(0, 60)),
)
def test_a_digest_knows_no_boundary_and_no_pieces(parts: list[bytes], cuts: list[int]):
    """However it comes, and whatever its boundary: the same form has the same digest."""
    content = b"".join(parts)
    whole, cut = (BodyDigest(FormReader(b"b")) for _ in range(2))
    whole.update(content)
    places = [min(place, len(content)) for place in sorted(cuts)]
    for begin, end in pairwise([0, *places, len(content)]):
        cut.update(content[begin:end])
    assert whole.result() == cut.result()
    renamed = BodyDigest(FormReader(b"c"))
    renamed.update(content.replace(b"--b", b"--c"))
    assert renamed.result() == whole.result()


@given(st.lists(BODIES, min_size=1, max_size=4), st.text("gpt-5.é ", min_size=1), st.integers(0, 4))
def test_the_model_is_found_among_any_files(files: list[bytes], model: str, at: int):
    """Wherever the model stands, its exact bytes are known."""
    parts = [part(b"file", body, FILE) for body in files]
    parts.insert(at, part(b"model", model.encode()))
    content = b"".join(parts) + END
    form = read(content)
    assert form.fields["model"] == model
    assert form.model_at is not None
    assert content[slice(*form.model_at)].decode() == model


@given(st.binary(max_size=300), st.integers(0, 300))
def test_nothing_but_a_form_is_read_as_one(content: bytes, cut: int):
    """Whatever a stranger sends is a form or a refusal, never a crash; and cuts change nothing."""
    results: list[Any] = []
    for cuts in ((), (min(cut, len(content)),)):
        try:
            results.append(read(content, *cuts).fields)
        except InvalidRequest:
            results.append(None)
    assert results[0] == results[1]


def test_where_no_model_is_expected_none_is_found():
    """A file upload may have whatever fields it likes."""
    form = read(part(b"model", b"a") + part(b"model", b"b") + END, has_model=False)
    assert (form.model_at, form.fields) == (None, {})


def test_long_fields_pass_unread():
    """A prompt of any length is no reason to hold it."""
    form = read(part(b"prompt", b"x" * 100_000) + part(b"model", b"m") + END)
    assert form.fields == {"model": "m"}


def test_another_type_is_no_form():
    """What is not said to be a form is not read as one."""
    assert form_of(b"multipart/mixed; boundary=x") is None
    assert form_of(b"") is None


@dataclass(frozen=True)
class Case:
    """A form that two programs could read differently, or that is none."""

    id: str
    content: bytes
    told: str
    kind: bytes = KIND


MODEL = part(b"model", b"cheap")
CASES = (
    Case("two models", MODEL + part(b"model", b"gold") + END, "once"),
    Case("two models, one escaped", MODEL + part(b"mo\\del", b"gold") + END, "plain field"),
    Case("two models, one encoded", MODEL + part(b"%6dodel", b"gold") + END, "plain field"),
    Case("two models, one in a list", MODEL + part(b"model[]", b"gold") + END, "plain field"),
    Case("two models, one in capitals", MODEL + part(b"MODEL", b"gold") + END, "plain field"),
    Case("a model that is a file", part(b"model", b"gold", FILE) + END, "plain field"),
    Case("base64", part(b"model", b"Z29sZA==", b"", b"\r\nContent-Transfer-Encoding: base64") + END, "plain"),
    Case("UTF-16", part(b"model", b"g", b"", b"\r\nContent-Type: text/plain; charset=utf-16") + END, "plain"),
    Case("no model's name", part(b"model", b"") + END, "must provide"),
    Case("a model that is no text", part(b"model", b"\xff") + END, "must provide"),
    Case("too long a model", part(b"model", b"x" * 257) + END, "256"),
    Case("an endless model", part(b"model", b"x" * 9_000) + END, "256"),
    Case("two names", part(b"file", b"", b'; name="model"') + END, "one name"),
    Case("an international name", part(b"file", b"", b"; name*=utf-8''model") + END, "one name"),
    Case("no name", b"--b0und\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END, "one name"),
    Case("no disposition", b"--b0und\r\nX: y\r\n\r\nx\r\n" + END, "Content-Disposition"),
    Case("no head", b"--b0und\r\n\r\nx\r\n" + END, "longer|broken|missing|Disposition"),
    Case("an attachment", b'--b0und\r\nContent-Disposition: attachment; name="a"\r\n\r\nx\r\n' + END, "form-data"),
    Case("two dispositions", part(b"a", b"", b"", b'\r\nContent-Disposition: form-data; name="model"') + END, "repeated"),
    Case("a folded line", part(b"a", b"", b"", b"\r\n more: x") + END, "broken"),
    Case("a bare line feed in a head", part(b"a", b"", b"", b"\nX: y") + END, "cannot be read"),
    Case("a boundary behind a line feed", part(b"a", b"x\n--b0und\r\n") + END, "line of its own"),
    Case("a boundary behind a return", part(b"a", b"x\r--b0und\r\n") + END, "line of its own"),
    Case("a boundary at once", part(b"a", b"--b0und\r\n") + END, "line of its own"),
    Case("a longer boundary", part(b"a", b"x\r\n--b0und2\r\n") + END, "alone"),
    Case("spaces behind a boundary", b"--b0und  \r\n" + MODEL[9:] + END, "alone"),
    Case("something before", b"hello\r\n" + MODEL + END, "begin with"),
    Case("something behind", MODEL + END + MODEL + END, "follows"),
    Case("no end", MODEL, "last boundary"),
    Case("nothing", b"", "last boundary"),
    Case("a head without end", b"--b0und\r\n" + b"x" * (MOST_HEAD + 1), "longer than"),
    Case("too many parts", part(b"a", b"") * (MOST_PARTS + 1) + END, "more than"),
    Case("no boundary", MODEL + END, "one boundary", b"multipart/form-data"),
    Case("two boundaries", MODEL + END, "one boundary", KIND + b"; boundary=x"),
    Case("an odd boundary", MODEL + END, "one boundary", b'multipart/form-data; boundary="a\\"b"'),
    Case("an odd parameter", MODEL + END, "parameter", KIND + b"; x"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_could_be_read_in_two_ways_is_refused(case: Case):
    """The refusal says what is wrong; whole or cut, it is the same one."""
    for cuts in ((), tuple(range(0, len(case.content), 7))[:2000]):
        with pytest.raises(InvalidRequest, match=case.told):
            read(case.content, *cuts, kind=case.kind)

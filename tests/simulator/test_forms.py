"""Forms: what browsers and clients send is read exactly, and nothing else is."""

from dataclasses import dataclass

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.simulator.asked import Upload
from headworks.simulator.forms import MOST_HEAD, MOST_PARTS, read, typed
from headworks.simulator.problems import Refusal

KIND = "multipart/form-data; boundary=b"


def part(disposition, body=b"x", more=""):
    return f"--b\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + body + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--b--\r\n"


def sent(data, files):
    """Return body and type as httpx, which the official clients use, writes them."""
    request = httpx.Request("POST", "http://x", data=data, files=files)
    return request.read(), request.headers["content-type"]


names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="[]"), min_size=1)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(fields=st.dictionaries(names, texts, max_size=4), content=st.binary(), filename=names)
def test_what_a_client_sends_arrives(fields, content, filename):
    """Names, texts and binary files come through a real client's form unchanged."""
    found = read(*sent(fields, {"file": (filename, content, "text/x")}))

    assert found.fields == {shown(name): value for name, value in fields.items()}
    [upload] = found.uploads["file"]
    assert (upload.filename, upload.content) == (shown(filename), content)
    assert upload.content_type == "text/x"


def shown(name):
    """Return how a name arrives: control characters stay percent-encoded, as the clients send them."""
    kept = {'"', "\r", "\n", "\x1b"}
    controls = [chr(n) for n in range(0x20) if chr(n) not in kept]
    for character in controls:
        name = name.replace(character, f"%{ord(character):02X}")
    for written, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        name = name.replace(written, character)
    return name


def is_decided(body, more=""):
    """Return whether a body is either read or refused as the caller's mistake."""
    try:
        form = read(body, KIND + more)
    except Refusal as refusal:
        return refusal.status == 400
    return all(isinstance(name, str) for name in (*form.fields, *form.uploads))


@given(content=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    """No body makes the reader crash."""
    for body in (content, b"--b\r\n" + content, form(part('form-data; name="a"', content))):
        assert is_decided(body)


PIECES = (
    *(b"--b", b"--", b"\r\n", b"b", b":", b";", b'"', b"\\", b"=", b"[", b"]", b"name", b"a"),
    *(b"Content-Disposition: form-data; name=", b"filename*=", b"UTF-8''", b"%41", b"\xff"),
)


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=40), kind=st.sampled_from(["", " "]))
def test_any_mixture_of_form_pieces_is_read_or_refused(pieces, kind):
    """Nor does what is nearly a form."""
    assert is_decided(b"".join(pieces), kind)


@dataclass(frozen=True)
class Case:
    id: str
    disposition: str
    filename: str | None


FILENAMES = [
    Case("a plain one", 'form-data; name="a"; filename="b.txt"', "b.txt"),
    Case("without quotes", "form-data; name=a; filename=b.txt", "b.txt"),
    Case("empty", 'form-data; name="a"; filename=""', ""),
    Case("in UTF-8", 'form-data; name="a"; filename="é.txt"', "é.txt"),
    Case("with a quote", 'form-data; name="a"; filename="b%22c.txt"', 'b"c.txt'),
    Case("with an escape", r'form-data; name="a"; filename="b\"c\\.txt"', 'b"c\\.txt'),
    Case("of Windows", r'form-data; name="a"; filename="C:\dir\b.txt"', r"C:\dir\b.txt"),
    Case("with a semicolon", 'form-data; name="a"; filename="b; name=c"', "b; name=c"),
    Case(
        "international",
        'form-data; name="a"; filename="e.txt"; filename*=UTF-8\'en\'%e2%82%ac.txt',
        "€.txt",
    ),
    Case("in Latin 1", "form-data; name=a; filename*=iso-8859-1''%e9.txt", "é.txt"),
    Case("none", 'form-data; name="a"', None),
    Case("in capitals", 'FORM-DATA; NAME="a"; FILENAME="b.txt"', "b.txt"),
]


@pytest.mark.parametrize("case", FILENAMES, ids=lambda case: case.id)
def test_file_names_are_read_in_every_spelling(case):
    """Clients write names in different ways; a part without a file name is a field."""
    found = read(form(part(case.disposition)), KIND)

    if case.filename is None:
        assert found.fields == {"a": "x"}
    else:
        assert found.uploads == {"a": [Upload(case.filename, b"x")]}


def test_names_with_brackets_are_objects_and_lists():
    """`a[b]` is a field of an object, `a[]` one of a list; of a repeated field the last counts."""
    listed = ("a[b]", "a[c][d]", "list[]", "list[]", "twice", "twice")
    parts = [part(f'form-data; name="{n}"', str(i).encode()) for i, n in enumerate(listed)]
    images = [part(f'form-data; name="image[]"; filename="{n}"') for n in "xy"]

    found = read(form(*parts, *images), KIND)

    assert found.fields == {"a": {"b": "0", "c": {"d": "1"}}, "list": ["2", "3"], "twice": "5"}
    assert [upload.filename for upload in found.uploads["image"]] == ["x", "y"]


def test_what_stands_around_the_parts_is_ignored():
    """A preamble, an epilogue and spaces after a boundary are allowed."""
    body = b"hello\r\n--b  \r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n--b--\r\nbye"

    assert read(body, KIND).fields == {"a": "x"}


def test_text_that_looks_like_a_boundary_is_content():
    """Only a boundary at the beginning of a line ends a part."""
    content = b"x--b \r\n-b\r\n--\r\n--B--"

    found = read(form(part("form-data; name=a; filename=f", content)), KIND)

    assert found.uploads["a"][0].content == content


@dataclass(frozen=True)
class Bad:
    id: str
    message: str
    body: bytes = form(part("form-data; name=a"))
    kind: str = KIND


BAD = [
    Bad("JSON", "Unsupported content type", b"{}", "application/json"),
    Bad("no boundary", "expected one boundary", kind="multipart/form-data"),
    Bad("two boundaries", "expected one boundary", kind=f"{KIND}; boundary=c"),
    Bad("an empty boundary", "may not be written", kind="multipart/form-data; boundary="),
    Bad("a long boundary", "may not be written", kind=f"multipart/form-data; boundary={'b' * 71}"),
    Bad("a strange boundary", "may not be written", kind='multipart/form-data; boundary="b@"'),
    Bad("another boundary", "does not occur", kind="multipart/form-data; boundary=c"),
    Bad("nothing", "does not occur", b""),
    Bad("no end", "the last boundary is missing", part("form-data; name=a")),
    Bad("no blank line", "no end of its header lines", b"--b\r\na: b\r\n--b--"),
    Bad("no header lines", "is broken or repeated", b"--b\r\n\r\nx\r\n--b--"),
    Bad("words after a boundary", "not alone on its line", b"--bc\r\n\r\nx\r\n--b--"),
    Bad("no disposition", "has no 'Content-Disposition", b"--b\r\na: b\r\n\r\nx\r\n--b--"),
    Bad("another disposition", "has no 'Content-Dis", form(part("attachment; name=a"))),
    Bad("a repeated header", "repeated", form(part("form-data; name=a", more="a: b\r\nA: c\r\n"))),
    Bad("no name", "needs one name", form(part("form-data; filename=a"))),
    Bad("an empty name", "needs one name", form(part('form-data; name=""'))),
    Bad("two names", "needs one name", form(part("form-data; name=a; name=b"))),
    Bad("an open quote", "cannot be read", form(part('form-data; name="a'))),
    Bad("an unknown charset", "'filename*'", form(part("form-data; name=a; filename*=x''y"))),
    Bad("a broken charset", "'filename*'", form(part("form-data; name=a; filename*=y"))),
    Bad("a field that is no text", "is not UTF-8", form(part("form-data; name=a", b"\xff"))),
    Bad("deep names", "cannot be read", form(part("form-data; name=a[b][c][d][e][f]"))),
    Bad("a list in the middle", "cannot be read", form(part("form-data; name=a[][b]"))),
    Bad(
        "an encoded part",
        "may not be encoded",
        form(part("form-data; name=a", more="Content-Transfer-Encoding: base64\r\n")),
    ),
    *(
        Bad(
            f"{first} and {second}",
            "contradicts",
            form(*(part(f"form-data; name={n}") for n in (first, second))),
        )
        for first, second in (("a", "a[b]"), ("a[b]", "a"), ("a[]", "a[b]"), ("a[]", "a"))
    ),
    Bad(
        "a long header",
        "no end of its header lines",
        form(part("form-data; name=a", more=f"a: {'b' * MOST_HEAD}\r\n")),
    ),
    Bad("many parts", "more than", form(part("form-data; name=a") * (MOST_PARTS + 1))),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_broken_forms_are_refused_with_the_reason(bad):
    """A form that breaks the rules is the caller's mistake, and is told what is wrong."""
    with pytest.raises(Refusal) as caught:
        read(bad.body, bad.kind)

    assert caught.value.status == 400
    assert bad.message in str(caught.value)


def test_as_many_parts_as_allowed_are_read():
    """The bound itself is still allowed."""
    assert read(form(part("form-data; name=a") * MOST_PARTS), KIND).fields == {"a": "x"}


def test_texts_become_numbers_where_a_field_is_one():
    """A form has only texts; what should be a number or a truth value is read as one, if it can."""
    types = {"n": int, "f": float, "b": bool, "c": bool, "x": int, "list": int}
    fields = {"n": "2", "f": "0.5", "b": "true", "c": "False", "x": "two", "y": "3", "list": ["1"]}

    assert typed(fields, types) == {
        "n": 2,
        "f": 0.5,
        "b": True,
        "c": False,
        "x": "two",
        "y": "3",
        "list": ["1"],
    }

"""Nothing secret and nothing forged gets into a log."""

import base64
import io
import json
import logging
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.observe.log import Redaction, configure_logging, escape
from headworks.types import Secret

KEY = 'sk-proj-4f9A/+x7"Zq\\é'


@pytest.fixture
def root():
    """Give the root logger back as it was."""
    logger = logging.getLogger()
    before, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = before
    logger.setLevel(level)


def written(style, *, secrets=(KEY,)) -> tuple[io.StringIO, logging.Logger]:
    out = io.StringIO()
    configure_logging(Redaction(map(Secret, secrets)), style=style, stream=out)
    return out, logging.getLogger("headworks.test")


FORMS = {
    "plain": KEY,
    "in a header": f"Authorization: Bearer {KEY}",
    "JSON": json.dumps({"key": KEY}),
    "JSON with letters kept": json.dumps({"key": KEY}, ensure_ascii=False),
    "URL": "https://a/?key=" + urllib.parse.quote(KEY, safe=""),
    "form": urllib.parse.urlencode({"key": KEY}),
    "repr": repr({"key": KEY}),
    "Basic": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "base64 for URLs": base64.urlsafe_b64encode(f"u:{KEY}!".encode()).decode(),
}


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.usefixtures("root")
def test_no_secret_is_written(form: str, style: str):
    """A secret is replaced in every form that it may take in a message or a traceback."""
    out, logger = written(style)
    logger.error("said %s", FORMS[form], exc_info=ValueError(FORMS[form]))
    line = out.getvalue()
    assert line.count("***") >= 2
    for piece in ("4f9A", "x7", base64.b64encode(KEY.encode()).decode()[8:16]):
        assert piece not in line


@given(st.binary(max_size=7), st.binary(max_size=7), st.text(min_size=6, max_size=40))
def test_base64_hides_no_secret_wherever_it_stands(before: bytes, after: bytes, secret: str):
    """A secret inside a longer base64 text is found whatever stands around it."""
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert "***" in Redaction([Secret(secret)]).apply(encoded)


def test_secrets_learnt_later_are_hidden_too():
    """A rotated key is hidden from the moment it is known, and the old one stays hidden."""
    redaction = Redaction([Secret("old-secret")])
    assert redaction.words(("the new-secret", "a" * 300)) == ("the new-secret", "a" * 200)
    redaction.learn([Secret("new-secret")])
    assert redaction.apply("old-secret new-secret") == "*** ***"
    assert redaction.words(("the new-secret", "")) == ("the ***", "")


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.usefixtures("root")
def test_no_message_can_forge_a_line(style: str):
    """Line ends, escapes and NUL from outside are spelled out: one record is one line."""
    out, logger = written(style)
    logger.warning("model %s", "a\r\n2026 info forged: \x1b[31mred\x00\u2028b\x9b")
    line = out.getvalue()
    assert line.count("\n") == 1
    assert not set(line) & set("\r\x1b\x00\u2028\x9b")


@given(st.text())
def test_escaped_text_is_one_line(text: str):
    """Whatever comes in, what goes out has no control character."""
    assert len(escape(text).splitlines()) <= 1
    assert escape(text).isprintable() or not any(char < " " for char in escape(text))


@pytest.mark.usefixtures("root")
def test_json_lines_can_be_read_back():
    """Each line is an object with time, level, logger and message."""
    out, logger = written("json", secrets=())
    logger.info("ready at %s", "é")
    logger.debug("not wanted")
    line = json.loads(out.getvalue())
    assert (line["level"], line["logger"], line["message"]) == (
        "info",
        "headworks.test",
        "ready at é",
    )
    assert line["time"].endswith("+00:00")

"""Where a text is cut while it comes."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.buffering_cuts import Anywhere, Cuts, Sentences, Words

TEXTS = st.text(
    alphabet=st.sampled_from("aB 1.,!?\n`~\"'()*-。\uff01」中かé\u0301\U0001f468\u200d")
)


def cut(cuts: Cuts, pieces: list[str]) -> list[str]:
    """Return what leaves, in order, and what is left as the last of them."""
    out, held = list[str](), ""
    for piece in pieces:
        fresh, held = len(held), held + piece
        end = cuts.end(held, fresh) if held else 0
        if end:
            cuts.passed(held[:end])
            out.append(held[:end])
            held = held[end:]
    return [*out, held]


@dataclass(frozen=True)
class Case:
    """What comes, letter by letter where it is one text, and what leaves; the last is still held."""

    id: str
    comes: str | list[str]
    leaves: list[str]

    @property
    def pieces(self) -> list[str]:
        return self.comes if isinstance(self.comes, list) else list(self.comes)


WORDS = [
    Case("a word goes when white space follows", "Hello world", ["Hello", " world"]),
    Case("pieces as models make them", ["Hel", "lo", " wor", "ld", "!"], ["Hello", " world!"]),
    Case("several words in one piece go together", ["one two three fo"], ["one two three", " fo"]),
    Case("white space alone waits for its word", [" ", "\n", "x"], [" \nx"]),
    Case("white space goes with the next word", ["a ", " b", " "], ["a", "  b", " "]),
    Case("a line break is white space", "so\nit", ["so", "\nit"]),
    Case("marks belong to their word", ["(so,", ' he said)."'], ["(so, he", ' said)."']),
    Case("each Chinese character is a word", ["你好", "世界。"], ["你好", "世界。", ""]),
    Case("Japanese likewise", ["これは", "ペン"], ["これは", "ペン", ""]),
    Case("Korean has spaces", ["안녕하", "세요 여"], ["안녕하세요", " 여"]),
    Case("a mark stays with its character", ["か\u3099は"], ["か\u3099は", ""]),
    Case("scripts together", ["用 GP", "T 写"], ["用", " GPT 写", ""]),
    Case("an emoji waits for its end", ["\U0001f468\u200d", "\U0001f469 o"], ["\U0001f468\u200d\U0001f469", " o"]),
    Case("letters beyond ASCII", "naïve café", ["naïve", " café"]),
]  # fmt: skip

SENTENCES = [
    Case("a sentence goes when the next begins", "One is. Two", ["One is. ", "Two"]),
    Case("question and exclamation", "Really?! Yes! So", ["Really?! ", "Yes! ", "So"]),
    Case("quotes and brackets belong to it", 'He said "no." (Or so.) We', ['He said "no." ', "(Or so.) ", "We"]),
    Case("a number is not cut", "It is 3.14 or 1,000.50 now", ["It is 3.14 or 1,000.50 now"]),
    Case("nor an address", "See example.com/a.b for more", ["See example.com/a.b for more"]),
    Case("nor behind an abbreviation", "Mr. Smith met Dr. Who. They", ["Mr. Smith met Dr. Who. ", "They"]),
    Case("nor behind initials", "J. R. Ewing, e.g. Bob, U.S. Army. He", ["J. R. Ewing, e.g. Bob, U.S. Army. ", "He"]),
    Case("nor before a small letter", "Wait... what? ok. Go", ["Wait... what? ok. ", "Go"]),
    Case("German abbreviations", "Das ist z. B. gut bzw. Prof. Maier. Er", ["Das ist z. B. gut bzw. Prof. Maier. ", "Er"]),
    Case("the number of an item is no sentence", "1. First\n2. Second\n", ["1. First\n", "2. Second\n", ""]),
    Case("a line is one", "# Title\ntext", ["# Title\n", "text"]),
    Case("CRLF too", "a\r\nb", ["a\r\n", "b"]),
    Case("Chinese needs no space", "你好。世界\uff01好", ["你好。", "世界\uff01", "好"]),
    Case("and has quotes of its own", "他说「好。」然后", ["他说「好。」", "然后"]),
    Case("Arabic and Hindi", "كيف؟ نعم। है", ["كيف؟ ", "نعم। ", "है"]),
    Case("several in one piece go together", ["A one. A two. A th"], ["A one. A two. ", "A th"]),
    Case("inside code there are lines", "Do:\n```py\nx = 1. \ny. Z\n```\nDone. So", ["Do:\n", "```py\n", "x = 1. \n", "y. Z\n", "```\n", "Done. ", "So"]),
    Case("a line of code waits for its end", ["```\na. B! ", "C? D"], ["```\n", "a. B! C? D"]),
    Case("a fence with a longer one inside", "````\n```\nSo. Be\n````\nSo. Be", ["````\n", "```\n", "So. Be\n", "````\n", "So. ", "Be"]),
    Case("tildes are fences too", "~~~\nSo. Be\n~~~\nSo. Be", ["~~~\n", "So. Be\n", "~~~\n", "So. ", "Be"]),
    Case("code inside a list", "- so:\n  ```\n  So. Be\n  ```\nSo. Be", ["- so:\n", "  ```\n", "  So. Be\n", "  ```\n", "So. ", "Be"]),
    Case("code inside a line is none", "`a` is. B", ["`a` is. ", "B"]),
]  # fmt: skip


@pytest.mark.parametrize("case", WORDS, ids=lambda case: case.id)
def test_words(case):
    """Words leave whole, as soon as it is known that they are."""
    assert cut(Words(), case.pieces) == case.leaves


@pytest.mark.parametrize("case", SENTENCES, ids=lambda case: case.id)
def test_sentences(case):
    """Sentences leave whole; code leaves by lines."""
    assert cut(Sentences(), case.pieces) == case.leaves


@given(st.lists(TEXTS, max_size=20), st.sampled_from([Anywhere, Words, Sentences]))
def test_nothing_is_lost_or_changed(pieces, make):
    """However a text comes, and wherever it is cut, it adds up to itself."""
    assert "".join(cut(make(), pieces)) == "".join(pieces)


@given(TEXTS, st.data())
def test_whole_words_leave_however_they_come(text, data):
    """No cut stands inside a word: what leaves ends before white space or behind an ideograph."""
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=len(text), max_size=len(text)))
    pieces, at = list[str](), 0
    for size in sizes:
        pieces.append(text[at : at + size])
        at += size
    *left, _ = cut(Words(), pieces)

    at = 0
    for piece in left:
        at += len(piece)
        assert piece[-1] in "。\uff01」中か" or text[at].isspace()
        assert not piece.isspace()


@given(TEXTS)
def test_code_is_known_however_it_was_sent(text):
    """Whether a line is code does not depend on when the text before it left."""
    late, early = Sentences(), Sentences()
    late.passed(text)
    for letter in text:
        early.passed(letter)
    after = "A one. A two. \nB. C"

    assert early.end(after, 0) == late.end(after, 0)

"""Where text may be cut: behind whole words, or whole sentences. Sans-IO; one object a text.

In the manner of UAX #29, as far as it can be followed while text still comes, and by what models
write: Markdown. A word goes with the white space before it; of Chinese and Japanese each character
is a word. A sentence ends with its line, or behind its last mark once what follows is seen not to
belong to it. Inside a fenced block of code there are lines alone.
"""

import re
from typing import Final, Protocol

_IDEOGRAPHS: Final = (
    r"\u2e80-\u30ff\u3100-\u312f\u31a0-\u9fff\uf900-\ufaff\uff01-\uff60\U00020000-\U0003ffff"
)
_MARKS: Final = r"\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""What belongs to the character before it."""
_WORD: Final = re.compile(rf".*(?:\S(?=\s)|[{_IDEOGRAPHS}](?![{_MARKS}]))", re.DOTALL)

_STOPS: Final = ".!?\u2026\u203d\u061f\u06d4\u0964\u0965\u0589\u1362\u1367"
"""What ends a sentence where white space follows."""
_FULL_STOPS: Final = "\u3002\uff01\uff1f\uff61\uff0e"
"""What ends one whatever follows."""
_CLOSERS: Final = "\"'\u201d\u2019\u00bb\u203a)]}*_\u300d\u300f\uff09\u3011\u300b\u3009\uff3d\uff5d"
_SENTENCE: Final = re.compile(
    r"[\n\u2028\u2029\x85]"
    rf"|[{_FULL_STOPS}][{_FULL_STOPS}{_STOPS}]{{0,8}}[{re.escape(_CLOSERS)}]{{0,8}}\s{{0,8}}"
    rf"(?=[^\s{re.escape(_CLOSERS)}{_FULL_STOPS}])"
    rf"|(?P<stop>[{_STOPS}]{{1,8}})[{re.escape(_CLOSERS)}]{{0,8}}\s{{1,8}}(?=\S)"
)
_MARK: Final = re.compile(rf"[\n\u2028\u2029\x85{_FULL_STOPS}{_STOPS}]")
_UNDECIDED: Final = _STOPS + _FULL_STOPS + _CLOSERS + " \t\r\f\v\u00a0\u3000"
"""What may stand at the end of a text whose last sentence is over, as the next piece will tell."""
_FAR_BACK: Final = 32
"""Characters from the mark to what tells that it ended a sentence, at most."""
_NO_END: Final = re.compile(
    r"(?:^|[\s(\[\"'\u201c\u2018*_])(?:"
    r"[A-HJ-Za-z]|(?:[^\W\d]\.)+[^\W\d]"  # an initial, or initials such as e.g. and U.S.
    r"|Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Rev|Gen|Sen|Rep|Gov|Capt|Lt|Col|Sgt|Mt|Messrs|Mme|Mlle|Hr|Fr|Sra?"
    r"|vs|cf|ca|approx|Nos|Vol|pp|Figs?|figs|Eq|Inc|Ltd|Co|Corp|Bros|Dept"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|bzw|vgl|Nr|Abs|Bd|evtl|ggf|inkl|zzgl"
    r")\Z"
)
_LONGEST_SHORT: Final = 16
"""Characters in which an abbreviation is looked for."""
_NUMBER: Final = re.compile(r"[\s>*+-]*\d{1,4}\Z")
_FENCES: Final = ("```", "~~~")
_MAY_BE_FENCES: Final = frozenset({"`", "``", "~", "~~"})


class Cuts(Protocol):
    """Where one text may be cut, piece by piece."""

    def end(self, held: str, fresh: int) -> int:
        """Return how much of what is held may go, 0 for nothing; from `fresh` on it has just come."""
        ...

    def passed(self, text: str) -> None:
        """Note that this much has gone, for whatever reason."""
        ...


class Anywhere:
    """Text is cut by time alone."""

    def end(self, held: str, fresh: int) -> int:  # noqa: ARG002 - the protocol's signature
        """Return 0: all of it waits."""
        return 0

    def passed(self, text: str) -> None:
        """Do nothing."""


class Words:
    """Text is cut behind whole words."""

    def end(self, held: str, fresh: int) -> int:
        """Return where the last word that is known to be whole ends."""
        if held.isascii():
            if held[-1].isspace():
                return len(held.rstrip())
            parts = held.rsplit(None, 1)
            return len(parts[0]) if len(parts) > 1 else 0
        found = _WORD.match(held, max(0, fresh - 1))
        return 0 if found is None else found.end()

    def passed(self, text: str) -> None:
        """Do nothing: words do not depend on what was before."""


class Sentences:
    """Text is cut behind whole sentences, and code behind whole lines."""

    def __init__(self) -> None:
        self._fence = ""
        """What ends the block of code that has begun, "" for none."""
        self._line = ""
        """How the line began of which a part has gone."""

    def end(self, held: str, fresh: int) -> int:
        """Return where the last sentence that is known to be whole ends."""
        is_open = fresh and held[fresh - 1] in _UNDECIDED
        if not is_open and _MARK.search(held, fresh) is None:
            return 0
        line_at = held.rfind("\n") + 1
        fence = _after(self._fence, self._line + held[:line_at]) if line_at else self._fence
        if fence or _may_be_fence(held[line_at:] if line_at else self._line + held):
            return line_at
        start = max(len(held[:fresh].rstrip(_UNDECIDED)), fresh - _FAR_BACK)
        for found in _SENTENCE.finditer(held, max(line_at, start)):
            if found["stop"] is None or _is_end(held, found):
                line_at = found.end()
        return line_at

    def passed(self, text: str) -> None:
        """Follow where code begins and ends."""
        lines = self._line + text
        line_at = lines.rfind("\n") + 1
        if line_at:
            self._fence = _after(self._fence, lines[:line_at])
        self._line = lines[line_at:][:80]


def _is_end(text: str, found: re.Match[str]) -> bool:
    """Return whether a mark that may stand inside a sentence ends this one."""
    if text[found.end()].islower():
        return False
    at = found.start()
    if found["stop"] != ".":
        return True
    is_short = _NO_END.search(text[max(0, at - _LONGEST_SHORT) : at]) is not None
    return not is_short and _NUMBER.match(text, text.rfind("\n", 0, at) + 1, at) is None


def _after(fence: str, lines: str) -> str:
    """Return what ends the code that is open behind whole lines, "" for none (CommonMark 4.5)."""
    if not fence and "```" not in lines and "~~~" not in lines:
        return ""
    for one in lines.split("\n"):
        line = one.strip()
        if fence:
            if line.startswith(fence) and not line.strip(fence[0]):
                fence = ""
        elif line.startswith(_FENCES):
            rest = line.lstrip(line[0])
            if "`" not in rest:
                fence = line[: len(line) - len(rest)]
    return fence


def _may_be_fence(line: str) -> bool:
    line = line.lstrip()
    return line.startswith(_FENCES) or line in _MAY_BE_FENCES

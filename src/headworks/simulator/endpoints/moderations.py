"""POST /v1/moderations: a word list stands for the judgement, so that tests can provoke every verdict.

A text is flagged by the words in it, an image by the words in its address; everything else has
scores near 0. The same input has the same scores.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

import msgspec
from typing_extensions import override

from headworks.simulator import problems
from headworks.simulator.asked import Asked
from headworks.simulator.chance import Chance
from headworks.simulator.fields import (
    check_known,
    check_text,
    is_list,
    is_map,
    needed,
    one_of,
    section,
)
from headworks.simulator.problems import Refusal
from headworks.simulator.provider import Provider
from headworks.simulator.reply import Body

_USUAL = "omni-moderation-latest"
_OMNI = (_USUAL, "omni-moderation-2024-09-26")
_TEXT = ("text-moderation-latest", "text-moderation-stable")
_TEXT_NAME = "text-moderation-007"  # how the real one calls itself

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit"),
    *("illicit/violent", "self-harm", "self-harm/intent", "self-harm/instructions"),
    *("sexual", "sexual/minors", "violence", "violence/graphic"),
)
_OF_IMAGES = frozenset(
    {
        *("self-harm", "self-harm/intent", "self-harm/instructions"),
        *("sexual", "violence", "violence/graphic"),
    }
)
_TRIGGERS: Mapping[str, str] = {
    "harassment": r"idiot|moron|loser|you are worthless|shut up",
    "harassment/threatening": r"i will (?:hurt|kill|beat|find) you|watch your back",
    "hate": r"racial slur|subhuman|vermin|inferior race|hate (?:speech|crime)",
    "hate/threatening": r"exterminate (?:them|the)|ethnic cleansing",
    "illicit": r"shoplift(?:s|ed|ing|ers?)?|launder money|counterfeit|steal a car|pick a lock|hack into",
    "illicit/violent": r"build a bomb|pipe bomb|make explosives|untraceable gun",
    "self-harm": r"self.?harm|suicide|cut(?:ting)? myself|kill myself",
    "self-harm/intent": r"i want to die|kill myself|end my life",
    "self-harm/instructions": r"how to (?:commit suicide|kill myself|cut myself)",
    "sexual": r"porn(?:o|ographic|ography)?|erotic(?:a|ism)?|nude|explicit sex",
    "sexual/minors": r"underage (?:sex|porn|nudes?)",
    "violence": r"kill(?:s|ed|ing|ers?)?|murder(?:s|ed|ing|ers?)?|stab(?:s|bed|bing)?|shoot(?:s|ing|ers?)?|violence|blood bath|i will (?:hurt|beat) you",
    "violence/graphic": r"gore|dismember(?:s|ed|ing)?|guts spilled|severed (?:head|arm|leg)",
}
_PATTERNS = {
    name: re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.IGNORECASE)
    for name, words in _TRIGGERS.items()
}
_KNOWN = frozenset({"input", "model", "user", "safety_identifier"})


class Judged(NamedTuple):
    """One input: all texts together, and the addresses of its images."""

    texts: Sequence[str]
    images: Sequence[str] = ()


@final
class ModerationsReply(Body):
    """The verdicts on one or several inputs; they cost nothing."""

    def __init__(self, provider: Provider, asked: Asked) -> None:
        fields = asked.fields
        check_known(fields, _KNOWN)
        model = one_of(fields, "model", (*_OMNI, *_TEXT)) or _USUAL
        self._is_omni = model in _OMNI
        self._model = model if self._is_omni else _TEXT_NAME
        self._id = f"modr-{asked.serial[:32]}"
        self._inputs = _inputs(needed(fields, "input"))
        if not self._is_omni and any(given.images for given in self._inputs):
            message = f"Model '{model}' does not support images."
            raise Refusal(400, message, param="input", code="invalid_value")
        self._seed = provider.config.seed

    @override
    def whole(self, *, usage: bool) -> bytes:
        """Return the verdicts, in the order of the inputs."""
        results = [self._result(given) for given in self._inputs]
        return msgspec.json.encode({"id": self._id, "model": self._model, "results": results})

    def _result(self, given: Judged) -> dict[str, Any]:
        names = [name for name in CATEGORIES if self._is_omni or not name.startswith("illicit")]
        marked = flags(given)
        chance = Chance(self._seed, self._model, *given.texts, *given.images)
        scores = {name: _score(chance, is_marked=name in marked) for name in names}
        result: dict[str, Any] = {
            "flagged": bool(marked.intersection(names)),
            "categories": {name: name in marked for name in names},
            "category_scores": scores,
        }
        if self._is_omni:
            result["category_applied_input_types"] = {name: _kinds(name, given) for name in names}
        return result


def flags(given: Judged) -> set[str]:
    """Return the categories that an input falls into."""
    text, images = "\n".join(given.texts), "\n".join(given.images)
    marked = {name for name, pattern in _PATTERNS.items() if given.texts and pattern.search(text)}
    marked |= {name for name in _OF_IMAGES if images and _PATTERNS[name].search(images)}
    return marked | {name.partition("/")[0] for name in marked}


def _score(chance: Chance, *, is_marked: bool) -> float:
    unit = chance.unit()
    return 0.8 + 0.19 * unit if is_marked else 0.02 * unit**4


def _kinds(name: str, given: Judged) -> list[str]:
    kinds = ["text"] if given.texts else []
    return [*kinds, "image"] if given.images and name in _OF_IMAGES else kinds


def _inputs(given: object) -> list[Judged]:
    """Return each input: a text, texts, or parts that are judged together."""
    if isinstance(given, str):
        return [Judged([given])]
    if not is_list(given):
        raise problems.wrong_field("input", "one of a string or array of strings", given)
    if not given:
        raise problems.empty_array("input")
    if is_map(given[0]):
        parts = list(_parts(given))
        texts = [text for kind, text in parts if kind == "text"]
        return [Judged(texts, [address for kind, address in parts if kind == "image_url"])]
    for place, text in enumerate(given):
        check_text(f"input[{place}]", text)
    return [Judged([text]) for text in given]


def _parts(given: list[Any]) -> Iterator[tuple[str, str]]:
    for place, part in enumerate(given):
        at = f"input[{place}]."
        if not is_map(part):
            raise problems.wrong_field(at[:-1], "an object", part)
        needed(part, "type", at)
        kind = str(one_of(part, "type", ("text", "image_url"), at))
        holder = part if kind == "text" else section(part, kind)
        name, where = ("text", at) if kind == "text" else ("url", f"{at}image_url.")
        check_text(f"{where}{name}", needed(holder, name, where))
        yield kind, holder[name]

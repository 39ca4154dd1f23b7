"""A small language: ordinary words, each one token in both vocabularies after a space."""

from collections.abc import Iterator

from headworks.simulator.chance import Chance


def _bag(words: str) -> tuple[str, ...]:
    return tuple(words.split())


NOUNS = _bag(
    "river mill gate garden road market letter window bridge morning engine village harbor field "
    "stone tree house boat lamp forest teacher sailor farmer baker child clock table song map "
    "story island wheel tower valley path horse bird cloud winter summer kitchen library station "
    "train ship wall roof hill lake fish dog cat book door chair coat coin hand friend neighbor "
    "doctor painter writer crowd"
)
_ADJECTIVES = _bag(
    "quiet bright small green clear gentle warm narrow simple steady golden calm soft broad fresh "
    "patient careful distant young plain deep light strong quick slow empty late heavy little kind "
    "thin dark cold wide long sharp honest brave clever round modern"
)
_VERBS = _bag(
    "crossed carried followed found watched kept reached opened measured held joined built moved "
    "turned covered passed guided helped left filled saved shared painted met heard remembered"
)
_PLACES = _bag("near beside under above behind toward across beyond along inside before after")
_LINKS = _bag("and while but until because as")
_ADVERBS = _bag("slowly again often gently quickly quietly always never once together soon")
_DETERMINERS = _bag("the each this that another every one his her our their its")
_STARTS = _bag("The Each This That Another Every One Our")


def sentences(chance: Chance) -> Iterator[list[str]]:
    """Yield sentences without end, each as its tokens; joined with a space they are a text."""
    while True:
        yield [chance.pick(_STARTS), *(f" {word}" for word in _clause(chance)), "."]


def _clause(chance: Chance) -> Iterator[str]:
    yield from (chance.pick(_ADJECTIVES), chance.pick(NOUNS), chance.pick(_VERBS))
    yield from (chance.pick(_DETERMINERS), chance.pick(NOUNS))
    if chance.below(2):
        yield from (chance.pick(_PLACES), "the", chance.pick(NOUNS))
    if chance.below(3) == 0:
        yield from (chance.pick(_LINKS), chance.pick(_DETERMINERS), chance.pick(_ADJECTIVES))
        yield from (chance.pick(NOUNS), chance.pick(_ADVERBS), chance.pick(_VERBS))
        yield from ("the", chance.pick(NOUNS))

"""A small language: ordinary words, each one token in both vocabularies after a space."""

from collections.abc import Iterator

from headworks.simulator.chance import Chance

NOUNS = (
    "river mill gate garden road market letter window bridge morning engine village harbor field "
    "stone tree house boat lamp forest teacher sailor farmer baker child clock table song map "
    "story island wheel tower valley path horse bird cloud winter summer kitchen library station "
    "train ship wall roof hill lake fish dog cat book door chair coat coin hand friend neighbor "
    "doctor painter writer crowd"
).split()
_ADJECTIVES = (
    "quiet bright small green clear gentle warm narrow simple steady golden calm soft broad fresh "
    "patient careful distant young plain deep light strong quick slow empty late heavy little kind "
    "thin dark cold wide long sharp honest brave clever round modern"
).split()
_VERBS = (
    "crossed carried followed found watched kept reached opened measured held joined built moved "
    "turned covered passed guided helped left filled saved shared painted met heard remembered"
).split()
_PLACES = "near beside under above behind toward across beyond along inside before after".split()
_LINKS = "and while but until because as".split()
_ADVERBS = "slowly again often gently quickly quietly always never once together soon".split()
_DETERMINERS = "the each this that another every one his her our their its".split()
_STARTS = "The Each This That Another Every One Our".split()


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

"""What a key looks like, and that two keys never look the same to us."""

import random
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headworks.core.keys import RANDOM_BYTES, digest, mask, mint, parse

PEPPER = b"p" * 32
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
keys = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES).map(mint)


def test_every_key_that_we_make_is_one_that_we_read():
    """Ten thousand new keys: all well-formed, all different, each names its own id."""
    chance = random.Random(7)
    made = [mint(chance.randbytes(RANDOM_BYTES)) for _ in range(10_000)]

    for key in made:
        parsed = parse(key.secret.reveal())
        assert parsed is not None
        assert parsed.id == key.id
    assert len({key.secret.reveal() for key in made}) == len({key.id for key in made}) == 10_000


@pytest.mark.parametrize("fill", [b"\0", b"\xff"])
def test_extreme_randomness_still_makes_a_key(fill):
    """Whatever the dice say, a key has one length and nothing of the randomness is cut off."""
    text = mint(fill * RANDOM_BYTES).secret.reveal()

    assert len(text) == 63
    assert parse(text) is not None
    assert text != mint(fill * (RANDOM_BYTES - 1) + b"\x01").secret.reveal()


def test_a_key_is_not_made_of_too_little():
    """Less randomness than a key holds is refused, not padded."""
    with pytest.raises(ValueError, match="40 random bytes"):
        mint(b"short")


@given(keys, st.integers(0, 62), st.sampled_from(ALPHABET + "_- \0é"))
def test_one_wrong_character_is_noticed(key, at, other):
    """A mistyped character, wherever it is, is told apart from an unknown key."""
    text = key.secret.reveal()
    wrong = text[:at] + other + text[at + 1 :]

    assert (parse(wrong) is None) == (wrong != text)


@given(keys, st.integers(0, 61))
def test_swapped_neighbours_are_noticed(key, at):
    """Two characters that changed places are noticed."""
    text = key.secret.reveal()
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]

    assert (parse(swapped) is None) == (swapped != text)


@given(keys, st.integers(0, 62), st.sampled_from(["", "\n", " ", "x", "\0"]))
def test_a_key_that_was_cut_or_lengthened_is_noticed(key, length, more):
    """A key cut by a copy, or with a line break at its end, is malformed."""
    text = key.secret.reveal()

    assert parse(text[:length] + more) is None
    assert (parse(text + more) is None) == bool(more)


@given(st.text())
def test_no_text_breaks_the_reader(text):
    """Anything can be sent as a key: it is malformed, nothing worse."""
    assert parse(text) is None
    assert parse("hw_" + text) is None
    assert len(digest(PEPPER, text)) == 32
    assert text not in mask(text) or len(text) < 4


@given(st.text(ALPHABET, min_size=20, max_size=200), st.text(), st.text())
def test_keys_that_share_their_beginning_are_different_keys(prefix, one, other):
    """However long the common beginning: other text, other hash."""
    assert (digest(PEPPER, prefix + one) == digest(PEPPER, prefix + other)) == (one == other)


characters = st.characters(exclude_categories=())


@given(st.text(characters, min_size=1))
def test_nothing_is_folded_before_it_is_hashed(text):
    """NUL, case, blanks and Unicode forms make another key, not the same one."""
    variants = {
        text,
        text + "\0",
        "\0" + text,
        text + " ",
        text.swapcase(),
        text.strip(),
        *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
    }

    assert len({digest(PEPPER, variant) for variant in variants}) == len(variants)


def test_another_pepper_makes_another_hash():
    """Hashes from one store say nothing about another one's keys."""
    assert digest(b"a" * 32, "k") != digest(b"b" * 32, "k")


@given(keys)
def test_a_masked_key_shows_none_of_its_secret(key):
    """What may be shown is a part of the id, even of a key that was cut."""
    text = key.secret.reveal()

    assert mask(text) == mask(text[:40]) == f"hw_{key.id[:3]}…{key.id[-4:]}"
    assert mask(text.replace("_", "")) == "***"
    assert repr(key) == f"NewKey(id='{key.id}', secret=***)"


def test_a_masked_foreign_text_shows_nothing():
    """A password sent by mistake is not echoed."""
    assert mask("sk-proj-verysecret") == "***"
    assert mask("hw_verysecretindeed") == "hw_…"

"""Whoever runs the tests without corpora or programs is told, and CI does not pass without them."""

import pytest

from tests import corpora
from tests.needed import program


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without public corpora."""
    monkeypatch.setattr(corpora, "PLACE", tmp_path)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


def test_a_corpus_that_is_there_is_used(nowhere):
    """A folder of the corpus's name is all it takes."""
    (nowhere / "words").mkdir()
    assert corpora.corpus("words") == nowhere / "words"


def test_without_a_corpus_its_tests_are_skipped_with_a_word(nowhere):
    """The reason says what is missing and where to put it."""
    with pytest.raises(pytest.skip.Exception, match="words is missing: put it into"):
        corpora.corpus("words")


def test_without_a_corpus_ci_fails(nowhere, monkeypatch):
    """No check is passed over silently where it counts."""
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="words is missing"):
        corpora.corpus("words")


def test_a_program_that_is_missing_is_told_alike(nowhere, monkeypatch):
    """It is skipped with what to install, and fails where it counts."""
    monkeypatch.setenv("PATH", str(nowhere))
    with pytest.raises(pytest.skip.Exception, match="strace is missing: apt-get install strace"):
        program("strace", "strace")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install strace"):
        program("strace", "strace")

"""Public test data, which lies beside the repository: its own README says where it comes from."""

from pathlib import Path

from tests.needed import missing

PLACE = Path(__file__).parents[2] / "shared" / "corpora"


def corpus(name: str) -> Path:
    """Return the folder of a corpus, or end the test."""
    folder = PLACE / name
    if not folder.is_dir():
        missing(f"the public corpus {name} is missing: put it into {folder}")
    return folder

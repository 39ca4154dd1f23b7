"""Public test data, which lies beside the repository: its own README says where it comes from."""

import os
from pathlib import Path

import pytest

PLACE = Path(__file__).parents[2] / "shared" / "corpora"


def corpus(name: str) -> Path:
    """Return the folder of a corpus.

    Where it is missing the test fails if the variable CI is set, and is skipped elsewhere.
    """
    folder = PLACE / name
    if not folder.is_dir():
        missing = f"the public corpus {name} is missing: put it into {folder}"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return folder

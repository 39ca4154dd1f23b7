"""What tests need that no package of Python brings: public test data, and programs of the system.

Where it is missing the test fails if the variable CI is set, and is skipped elsewhere.
"""

import os
import shutil
from typing import NoReturn

import pytest


def program(name: str, package: str) -> str:
    """Return where a program is that a package of Debian and Ubuntu brings."""
    return shutil.which(name) or missing(f"{name} is missing: apt-get install {package}")


def missing(what: str) -> NoReturn:
    """End the test: something is missing."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)

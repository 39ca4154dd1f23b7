"""`headworks serve`, with what looks at its steps.

python bench/steps_gateway.py LIBRARY PAGE CONFIGURATION
"""

import ctypes
import mmap
import sys
from pathlib import Path
from types import CodeType

from steps_map import step_of


def main() -> None:
    """Serve."""
    library, page, configuration = sys.argv[1:]
    with Path(page).open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    begin = ctypes.PyDLL(library).begin
    begin.argtypes, begin.restype = [ctypes.c_void_p, ctypes.py_object], None

    def classify(code: CodeType) -> int:
        return step_of(code.co_filename, code.co_qualname)

    from headworks.cli import main as headworks

    begin(ctypes.addressof(ctypes.c_char.from_buffer(mapped)), classify)
    sys.argv = ["headworks", "serve", "--config", configuration]
    headworks()


if __name__ == "__main__":
    main()

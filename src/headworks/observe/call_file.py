"""A file of call lines that may be moved away while it is written, as log rotation does."""

import os
from io import FileIO
from pathlib import Path

from headworks.errors import ConfigurationError


class CallFile:
    """Appends to a file that its owner alone may read; begins a new one when it has been moved.

    Raises:
        ConfigurationError: The file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = self._open()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError([f"log.file: {path} cannot be written: {reason}"]) from None

    def write(self, lines: bytes) -> None:
        """Write whole lines, to the file that has the name now."""
        if self._has_moved():
            self._file.close()
            self._file = self._open()
        written = self._file.write(lines)
        if written != len(lines):
            raise OSError("no space left for the rest of a line")

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._file.close()

    def _open(self) -> FileIO:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return FileIO(descriptor, "a")

    def _has_moved(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except FileNotFoundError:
            return True

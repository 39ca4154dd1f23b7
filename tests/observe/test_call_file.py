"""The calls' own file: private, appended to, and free to be rotated."""

import json
import stat
from pathlib import Path

import pytest

from headworks.errors import ConfigurationError
from headworks.observe.call_file import CallFile
from headworks.observe.journal import CallLog
from tests.observe.conftest import finished


def calls(path) -> list[str]:
    return [json.loads(line)["call"] for line in path.read_text().splitlines()]


def test_lines_are_added_to_what_stands_there(tmp_path):
    """A restart loses no line, and nobody else may read who asked for what."""
    path = tmp_path / "calls.jsonl"
    for name in ("call_1", "call_2"):
        file = CallFile(path)
        CallLog(file).record(finished(id=name))
        file.close()

    assert calls(path) == ["call_1", "call_2"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_new", [False, True], ids=["moved", "moved and replaced"])
def test_a_file_may_be_rotated(tmp_path, is_new):
    """After a rotation lines go to the file of the name, without a signal or a restart."""
    path = tmp_path / "calls.jsonl"
    file = CallFile(path)
    log = CallLog(file)
    log.record(finished(id="call_1"))
    path.rename(tmp_path / "calls.jsonl.1")
    if is_new:
        path.touch()
    log.record(finished(id="call_2"))
    file.close()

    assert calls(tmp_path / "calls.jsonl.1") == ["call_1"]
    assert calls(path) == ["call_2"]
    assert log.lost == 0


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path):
    """I learn it from one line, not from an empty file a week later."""
    with pytest.raises(ConfigurationError, match=r"log\.file: .*cannot be written: No such file"):
        CallFile(tmp_path / "nowhere" / "calls.jsonl")


def test_a_full_disk_is_counted():
    """Lines that the disk did not take are counted, and the calls go on."""
    file = CallFile(Path("/dev/full"))
    log = CallLog(file)
    log.record(finished())
    file.close()

    assert log.lost == 1

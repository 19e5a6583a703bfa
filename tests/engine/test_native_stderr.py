"""Native code's messages go to the file; Python's stay where they were."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caption_core.engine.native_stderr import native_stderr_in

PROGRAM = """
import os, sys
from pathlib import Path
from caption_core.engine.native_stderr import native_stderr_in
os.write(2, b"native before\\n")
with native_stderr_in(Path(sys.argv[1])) as stderr:
    os.write(2, b"native inside\\n")
    print("python inside", file=stderr)
    print("python via sys", file=sys.stderr)
os.write(2, b"native after\\n")
print("python after", file=sys.stderr)
"""


def test_only_native_messages_go_to_the_file(tmp_path: Path) -> None:
    log = tmp_path / "native.log"
    done = subprocess.run([sys.executable, "-c", PROGRAM, log], capture_output=True, text=True, check=True)
    assert log.read_text() == "native inside\n"
    expected = ["native before", "python inside", "python via sys", "native after", "python after"]
    assert done.stderr.splitlines() == expected


def test_a_file_that_stayed_empty_goes(tmp_path: Path) -> None:
    with native_stderr_in(tmp_path / "native.log"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_everything_is_put_back_after_an_error(tmp_path: Path) -> None:
    before, open_files = sys.stderr, os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(ValueError, match="inside"), native_stderr_in(tmp_path / "native.log"):
        raise ValueError("inside")
    assert sys.stderr is before
    assert len(os.listdir("/proc/self/fd")) == len(open_files)  # noqa: PTH208

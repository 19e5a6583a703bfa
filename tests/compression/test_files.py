import json
import os
from pathlib import Path

import pytest

from compression.files import write_bytes, write_json, write_text


def test_contents_replace_what_was_there_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    assert write_text(path, "é") == path
    assert write_bytes(path, b"new") == path
    assert path.read_bytes() == b"new"
    write_json(path, {"x": [1]})
    assert json.loads(path.read_text()) == {"x": [1]}
    assert [each.name for each in path.parent.iterdir()] == ["b.txt"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_bytes(tmp_path / "a", b"old")

    def fail(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

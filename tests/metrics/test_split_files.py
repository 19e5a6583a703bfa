from pathlib import Path

import pytest

from caption_core.errors import UsageError
from caption_core.metrics.split_files import read_split


def test_names_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "split.txt").write_text("b.jpg\n\n a.jpg \n")
    assert read_split(tmp_path / "split.txt") == ("b.jpg", "a.jpg")


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "names no image"), (b"a\na\n", "named twice"), (b"\xff\xfe", "split.txt: 'utf-8'")]
)
def test_a_useless_split_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "split.txt").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_split(tmp_path / "split.txt")

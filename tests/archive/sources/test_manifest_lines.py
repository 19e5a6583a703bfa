"""Lines of text files, whatever they hold."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.manifest_lines import LONGEST_LINE_BYTES, LineFault, read_lines
from caption_core.errors import UsageError
from tests.builders import write_file


def lines(path: Path) -> list[tuple[int, bytes | LineFault]]:
    return list(read_lines(str(path)))


@settings(max_examples=50, deadline=None)
@given(data=st.lists(st.binary(max_size=5) | st.sampled_from([b"\n", b"\r\n", b"\0"])).map(b"".join))
def test_lines_are_all_there_is(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    data = b"first" + data
    folder = tmp_path_factory.mktemp("lines")
    plain, packed = write_file(folder / "a.txt", data), write_file(folder / "a.txt.gz", gzip.compress(data))
    found = lines(plain)
    assert b"".join(line for _, line in found if isinstance(line, bytes)) == data
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert all(isinstance(line, bytes) and b"\n" not in line[:-1] for _, line in found)
    assert lines(packed) == found


def test_an_empty_file_has_none(tmp_path: Path) -> None:
    assert lines(write_file(tmp_path / "a.txt", b"")) == []
    assert lines(write_file(tmp_path / "a.txt.gz", gzip.compress(b""))) == []


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert lines(write_file(tmp_path / "a.txt", b"\xef\xbb\xbfa\n\xef\xbb\xbfb")) == [
        (1, b"a\n"),
        (2, b"\xef\xbb\xbfb"),
    ]


def test_utf16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.csv: is UTF-16; save it as UTF-8"):
        lines(write_file(tmp_path / "a.csv", "path\na.jpg\n".encode("utf-16")))


def test_a_line_that_is_too_long_is_a_fault_and_no_other(tmp_path: Path) -> None:
    longest = b"x" * (LONGEST_LINE_BYTES - 1) + b"\n"
    path = write_file(tmp_path / "a.txt", b"a\n" + longest + b"y" * 3 * LONGEST_LINE_BYTES + b"\nb\n" + b"z" + longest)
    fault = LineFault("longer than 1,048,576 bytes")
    assert lines(path) == [(1, b"a\n"), (2, longest), (3, fault), (4, b"b\n"), (5, fault)]


@pytest.mark.parametrize("name", ["cut off", "damaged", "followed by nonsense"])
def test_of_a_damaged_compressed_file_the_lines_before_are_read(tmp_path: Path, name: str) -> None:
    content = b"".join(b"%d\n" % (number * 7919 % 100_003) for number in range(100_000))
    packed = gzip.compress(content)
    middle = len(packed) // 2
    damaged = {
        "cut off": packed[:middle],
        "damaged": packed[:middle]
        + bytes(byte ^ 0xFF for byte in packed[middle : middle + 20])
        + packed[middle + 20 :],
        "followed by nonsense": packed + b"nonsense",
    }
    found = lines(write_file(tmp_path / "a.txt.gz", damaged[name]))
    *before, (number, fault) = found
    assert number == len(found)
    assert isinstance(fault, LineFault)
    assert fault.message.startswith("the file is damaged from here on: ")
    assert len(before) > 30_000
    right = content.splitlines(keepends=True)
    # The last line before it may be cut off; what a damaged stream gives before the damage shows may be wrong, too.
    assert [line for _, line in before[:30_000]] == right[:30_000]


def test_a_file_that_can_not_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        lines(tmp_path / "nowhere.txt")
    with pytest.raises(UsageError, match="folder"):
        lines(tmp_path / "folder")

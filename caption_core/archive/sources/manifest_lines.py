"""A text file's lines as bytes, whatever the file holds: a stream in bounded memory."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from caption_core.archive.sources.archive_files import open_archive_file
from caption_core.archive.store_errors import cause_of
from caption_core.errors import CapstanError, UsageError

LONGEST_LINE_BYTES = 1 << 20

_COMPRESSED = ".gz"
_BUFFER_BYTES = 1 << 20
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class LineFault:
    """A line that can't be had.

    Attributes:
        message: why, in words.
    """

    message: str


def read_lines(location: str) -> Iterator[tuple[int, bytes | LineFault]]:
    """Lines with their numbers, from 1; with their ends, without a byte order mark.

    A line of more than `LONGEST_LINE_BYTES` is a fault. So is the first one that a damaged compressed file lacks; it is
    the last one then.

    Raises:
        UsageError: the file can't be read, or is UTF-16.
    """
    number = 0
    try:
        with open_archive_file(location) as file, _buffered(location, file) as lines:
            for number, line in enumerate(_bounded(lines), start=1):
                yield number, line if number > 1 else _without_mark(location, line)
    except _DAMAGE as error:
        yield number + 1, LineFault(f"the file is damaged from here on: {cause_of(error)}")
    except CapstanError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{location}: can't be read: {cause_of(error)}") from error


def _buffered(location: str, file: Any) -> io.BufferedIOBase:
    if location.lower().endswith(_COMPRESSED):
        # Not buffered once more: what comes before damage would be lost with the rest of the buffer.
        return gzip.GzipFile(fileobj=file)
    return io.BufferedReader(cast(io.RawIOBase, file), _BUFFER_BYTES)


def _bounded(file: io.BufferedIOBase) -> Iterator[bytes | LineFault]:
    while line := file.readline(LONGEST_LINE_BYTES):
        if len(line) < LONGEST_LINE_BYTES or line.endswith(b"\n"):
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE_BYTES)
        yield LineFault(f"longer than {LONGEST_LINE_BYTES:,} bytes")


def _without_mark(location: str, line: bytes | LineFault) -> bytes | LineFault:
    if isinstance(line, LineFault):
        return line
    if line.startswith(_UTF16_MARKS):
        raise UsageError(f"{location}: is UTF-16; save it as UTF-8")
    return line.removeprefix(_UTF8_MARK)

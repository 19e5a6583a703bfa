"""Keeps what native code prints apart from what the program says."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def native_stderr_in(log: Path) -> Iterator[TextIO]:
    """Send what C++ code prints on standard error to a file; yields Python's standard error, which stays where it was.

    Ray's core prints warnings that are meant for Ray's authors. The file is deleted if nothing went into it.
    """
    python_stderr = sys.stderr
    python_stderr.flush()
    saved = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        with _on_descriptor(python_stderr, saved) as stream:
            sys.stderr = stream
            yield stream
    finally:
        sys.stderr = python_stderr
        os.dup2(saved, 2)
        os.close(saved)
        _remove_if_empty(log)


@contextmanager
def _on_descriptor(stream: TextIO, saved: int) -> Iterator[TextIO]:
    if not _writes_to_descriptor_2(stream):
        yield stream  # a replacement of its own, for example a test's
        return
    with open(saved, "w", buffering=1, encoding=stream.encoding, errors=stream.errors, closefd=False) as same:
        yield same


def _writes_to_descriptor_2(stream: TextIO) -> bool:
    with suppress(io.UnsupportedOperation, AttributeError):
        return stream.fileno() == 2
    return False


def _remove_if_empty(log: Path) -> None:
    with suppress(OSError):
        if log.is_file() and log.stat().st_size == 0:
            log.unlink()

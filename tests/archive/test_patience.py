"""What is done when a file system or an object store refuses."""

from __future__ import annotations

import errno
from types import SimpleNamespace

import pytest

from caption_core.archive.patience import patiently, refusal_of
from caption_core.errors import CapstanError


class Refusing:
    """Raises so many times before it works."""

    def __init__(self, error: Exception, times: int) -> None:
        self._error, self._left = error, times
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        self._left -= 1
        if self._left >= 0:
            raise self._error
        return "done"


def caused_by(cause: Exception) -> CapstanError:
    error = CapstanError("can't be opened")
    error.__cause__ = cause
    return error


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none of them is waited for."""
    made: list[float] = []
    monkeypatch.setattr("caption_core.archive.patience.time", SimpleNamespace(sleep=made.append))
    return made


@pytest.mark.parametrize(
    "error", [OSError("AWS Error SLOW_DOWN"), caused_by(OSError(errno.EIO, "I/O")), caused_by(caused_by(OSError()))]
)
def test_what_passes_is_waited_for_with_growing_pauses(error: Exception, pauses: list[float]) -> None:
    beats: list[int] = []
    assert patiently(Refusing(error, 3), lambda: beats.append(len(pauses))) == "done"
    assert pauses == [1.0, 5.0, 20.0]
    assert beats == [0, 1, 2]


def test_what_does_not_pass_is_raised_in_the_end(pauses: list[float]) -> None:
    refusing = Refusing(OSError("connection reset"), 99)
    with pytest.raises(OSError, match="connection reset"):
        patiently(refusing)
    assert (refusing.calls, len(pauses)) == (4, 3)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "no"),
        OSError(errno.EACCES, "no"),
        OSError(errno.ENOENT, "no"),
        caused_by(FileNotFoundError(errno.ENOENT, "no")),
        FileNotFoundError("an object store gives no number"),
        OSError("When reading 'photos.tar': AWS Error ACCESS_DENIED during GetObject operation: Access Denied"),
        CapstanError("no"),
        ValueError("no"),
    ],
)
def test_what_waiting_does_not_mend_is_raised_at_once(error: Exception, pauses: list[float]) -> None:
    refusing = Refusing(error, 99)
    with pytest.raises(type(error)) as raised:
        patiently(refusing)
    assert raised.value is error
    assert (refusing.calls, pauses) == (1, [])


def test_the_refusal_behind_an_error_is_found() -> None:
    refusal = OSError(errno.EIO, "I/O")
    assert refusal_of(caused_by(refusal)) is refusal
    assert refusal_of(caused_by(ValueError("no"))) is None

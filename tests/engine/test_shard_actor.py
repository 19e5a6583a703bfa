"""What a worker does when a file system or an object store refuses."""

from __future__ import annotations

import errno

import pytest

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.shard_actor import _patiently
from caption_core.engine.work import ShardSummary

SUMMARY = ShardSummary(0, OutcomeCounts(1), "worker", 0, 1)


class Refusing:
    """Raises so many times before it works."""

    def __init__(self, error: OSError, times: int) -> None:
        self._error, self._left = error, times
        self.calls = 0

    def __call__(self) -> ShardSummary:
        self.calls += 1
        self._left -= 1
        if self._left >= 0:
            raise self._error
        return SUMMARY


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none of them is waited for."""
    made: list[float] = []
    monkeypatch.setattr("caption_core.engine.shard_actor.time.sleep", made.append)
    return made


def test_what_passes_is_waited_for_with_growing_pauses(pauses: list[float]) -> None:
    assert _patiently(Refusing(OSError("AWS Error SLOW_DOWN"), 3)) == SUMMARY
    assert pauses == [1.0, 5.0, 20.0]


def test_what_does_not_pass_is_raised_in_the_end(pauses: list[float]) -> None:
    refusing = Refusing(OSError("connection reset"), 99)
    with pytest.raises(OSError, match="connection reset"):
        _patiently(refusing)
    assert (refusing.calls, len(pauses)) == (4, 3)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOENT])
def test_what_waiting_does_not_mend_is_raised_at_once(number: int, pauses: list[float]) -> None:
    refusing = Refusing(OSError(number, "no"), 99)
    with pytest.raises(OSError, match="no"):
        _patiently(refusing)
    assert (refusing.calls, pauses) == (1, [])

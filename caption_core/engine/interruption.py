"""Ending a run from outside: Ctrl-C, and SIGTERM as a scheduler or `ray job stop` sends it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

Handler = Callable[[int, FrameType | None], Any] | int | None


class Interrupted(BaseException):
    """The user or the system ended the run; not an error, so no `except Exception` may swallow it.

    Args:
        signal_number: what ended it.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell reports for a program that this signal ended: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal_number


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Interrupted` in the main thread.

    To be entered once around everything, and again after Ray is connected, which sets a handler of its own. Once a
    signal has come, all others are ignored until the outermost is left: what cleans up must not be interrupted.
    """
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    is_outermost = _interrupt not in previous.values()
    try:
        yield
    except Interrupted:
        if is_outermost:
            _restore(previous)
        raise
    except BaseException:
        _restore(previous)
        raise
    _restore(previous)


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _interrupt(signal_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signal_number)

"""Ending a run from outside: Ctrl-C, and SIGTERM as a scheduler or `ray job stop` sends it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


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

    To be entered after Ray is connected, which sets a handler of its own.
    """
    previous = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(signal_number: int, _frame: FrameType | None) -> NoReturn:
    # A second signal would interrupt the cleaning up that the first one began.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted(signal_number)

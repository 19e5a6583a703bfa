"""Signals become one exception with the exit code that a shell expects."""

from __future__ import annotations

import os
import signal

import pytest

from caption_core.engine.interruption import Interrupted, interruptible


def send(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_interrupts(number: signal.Signals, exit_code: int) -> None:
    with pytest.raises(Interrupted) as caught, interruptible():
        send(number)
    assert caught.value.exit_code == exit_code


def test_a_second_signal_does_not_interrupt_the_cleaning_up() -> None:
    cleaned_up = False

    def work() -> None:
        nonlocal cleaned_up
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM, signal.SIGINT)
            cleaned_up = True

    with pytest.raises(Interrupted), interruptible():
        work()
    assert cleaned_up


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGTERM) is not before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_no_ordinary_handler_swallows_it() -> None:
    assert not issubclass(Interrupted, Exception)

"""Ends a worker that hangs in native code and lets no Python run, so that Ray replaces it."""

from __future__ import annotations

import faulthandler
import math
import os
import time

_SLACK_S = 60.0
_INTERVAL_S = 1.0
_SECONDS_AN_IMAGE = 10.0  # of inference; the largest captioners on the slowest machines need about one


class Watchdog:
    """Must hear a beat within a limit; ends the process without it.

    The waiting is done by a thread of C (`faulthandler`), which needs nothing of Python to run.

    Args:
        image_timeout_s: that reading and decoding one image may take.
        batch_size: images that are captioned between two beats, at most.
    """

    def __init__(self, image_timeout_s: float, batch_size: int) -> None:
        self.limit_s = 2 * image_timeout_s + _SECONDS_AN_IMAGE * batch_size + _SLACK_S
        # A worker's standard error may have been closed; the traceback goes nowhere if so.
        self._log = os.open(os.devnull, os.O_WRONLY)
        self._beaten_s = -math.inf

    def beat(self) -> None:
        """Begin to wait anew; at most once a second, since it takes a new thread each time."""
        now_s = time.monotonic()
        if now_s - self._beaten_s < min(_INTERVAL_S, self.limit_s / 10):
            return
        self._beaten_s = now_s
        faulthandler.dump_traceback_later(self.limit_s, exit=True, file=self._log)

    def rest(self) -> None:
        """Wait no more, until the next beat."""
        self._beaten_s = -math.inf
        faulthandler.cancel_dump_traceback_later()

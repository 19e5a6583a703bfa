"""Where processes that are to measure at the same time wait for each other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.005
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class StartLine:
    """One of several processes at a line.

    Attributes:
        folder: of all of them, and empty at first.
        slot: which this one is.
        together: how many there are.
    """

    folder: Path
    slot: int
    together: int

    def wait(self, patience_s: float = _PATIENCE_S) -> None:
        """Return when all are here.

        Raises:
            TimeoutError: some never came.
            FileNotFoundError: the folder is gone, since one of them failed.
        """
        (self.folder / str(self.slot)).touch()
        end_s = time.monotonic() + patience_s
        while (here := sum(1 for _ in self.folder.iterdir())) < self.together:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{here} of {self.together} processes were ready after {patience_s:g} s")
            time.sleep(_POLL_S)

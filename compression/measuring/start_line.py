"""Where processes that are to measure at the same time wait for each other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.005
_PATIENCE_S = 600.0
_CALLED_OFF = "called off"


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
            RuntimeError: it was called off.
        """
        (self.folder / str(self.slot)).touch()
        end_s = time.monotonic() + patience_s
        while len(here := self._here()) < self.together:
            if time.monotonic() > end_s:
                raise TimeoutError(f"{len(here)} of {self.together} processes were ready after {patience_s:g} s")
            time.sleep(_POLL_S)

    def _here(self) -> list[str]:
        names = [path.name for path in self.folder.iterdir()]
        if _CALLED_OFF in names:
            raise RuntimeError("another process that was to begin at the same time failed")
        return names


def call_off(folder: Path) -> None:
    """End the waiting of those that wait in a folder, since another one failed."""
    (folder / _CALLED_OFF).touch()

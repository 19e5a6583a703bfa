"""What trainings leave in a step's folder while they run. No TensorFlow here: the driver clears it away, too."""

from __future__ import annotations

import shutil
from pathlib import Path

_STATES = "trainings"


def state_path(folder: Path, number: int) -> Path:
    """Where the state of training number `number` of a step is kept."""
    return folder / _STATES / f"{number}.safetensors"


def remove_states(folder: Path) -> None:
    """Delete what a finished step's trainings left, if anything."""
    shutil.rmtree(folder / _STATES, ignore_errors=True)

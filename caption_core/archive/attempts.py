"""How often a shard was begun and not finished, counted where all machines of a run can see it.

A worker that an image kills (a crash in a codec) leaves no row that says so, and its shard is tried again by another
worker, and again. The count bounds that.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from caption_core.archive.output_folder import STATE_FOLDER

_ATTEMPTS = "attempts"


def begin_attempt(output: Path, shard_id: int) -> int:
    """Note that a shard is begun; returns how often it has been, this time included."""
    path = _path(output, shard_id)
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        file.write(b".")
        return file.tell()


def end_attempts(output: Path, shard_id: int) -> None:
    """Note that a shard is finished."""
    _path(output, shard_id).unlink(missing_ok=True)


def forget_attempts(output: Path) -> None:
    """Forget all counts, for a new run."""
    shutil.rmtree(output / STATE_FOLDER / _ATTEMPTS, ignore_errors=True)


def _path(output: Path, shard_id: int) -> Path:
    return output / STATE_FOLDER / _ATTEMPTS / f"shard-{shard_id:05d}"

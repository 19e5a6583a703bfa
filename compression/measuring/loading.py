"""What it takes to have a captioner ready: time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caption_core.errors import UsageError
from compression.measuring.fresh_process import measure_afresh

_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class Loading:
    """Medians over fresh processes, whose files are in the page cache.

    The processes have imported the captioner and its runtime and decoded the images before memory and time are
    counted, so that both are the captioner's own. Resident memory counts the pages of mapped files that were read.

    Attributes:
        import_s: importing the runtime: LiteRT's interpreter, or TensorFlow with Keras.
        load_s: from a folder's name to a captioner: reading the manifest, checksums of all files, expanding those that
            are compressed, building graphs and setting weights. Neither imports nor the first captions are in it.
        first_s: the first batch's captions, for which a runtime traces graphs or sets up its memory.
        loaded_mb: resident memory that loading added, in 10^6 bytes.
        memory_mb: resident memory that loading and the first batch added, in 10^6 bytes.
    """

    import_s: float
    load_s: float
    first_s: float
    loaded_mb: float
    memory_mb: float


def measure_loading(
    bundle: Path, *, threads: int = 1, batch: int = 8, runs: int = 3, files: Sequence[Path] = ()
) -> Loading:
    """Load a captioner in fresh processes, one after the other.

    Args:
        bundle: the captioner.
        threads: of its runtime; the processes keep to as many cores.
        batch: images in the first batch, captioned with the bundle's own search.
        runs: processes.
        files: images; the sample photographs where there are none.

    Raises:
        UsageError: no image or no run is asked for.
        CapstanError: the captioner can't be loaded; the message names it and the cause.
    """
    if min(batch, runs, threads) < 1:
        raise UsageError(f"loading takes threads, images a batch and runs from 1 on, not {threads}, {batch} and {runs}")
    replies = [measure_afresh("loading", bundle, threads=threads, files=files, batch=batch) for _ in range(runs)]
    return Loading(
        *(float(np.median([reply[name] for reply in replies])) for name in ("import_s", "load_s", "first_s")),
        *(float(np.median([_added_mb(reply, name) for reply in replies])) for name in ("loaded", "captioned")),
    )


def _added_mb(reply: dict[str, float], name: str) -> float:
    return (reply[name] - reply["before"]) / _MEGABYTE

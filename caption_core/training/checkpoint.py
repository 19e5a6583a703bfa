"""Where a training run stands, on disk: safetensors and JSON, so that a later process goes on from there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from caption_core.models.weights import Weights, load_weights, save_weights

BEST_WEIGHTS = "best.safetensors"
_PROGRESS, _CURRENT, _OPTIMIZER = "progress.json", "current.safetensors", "optimizer.safetensors"


@dataclass(slots=True)
class Progress:
    """What is done.

    Attributes:
        stage, epoch: the next epoch to run, both from 0.
        updates: updates made in this stage.
        best_score: highest score of an epoch since the metric last changed, or -1 before the first.
        history: one entry a finished epoch, as printed.
    """

    stage: int = 0
    epoch: int = 0
    updates: int = 0
    best_score: float = -1.0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Snapshot:
    """A run at the end of an epoch.

    Attributes:
        progress: what is done.
        current: the weights as trained, `encoder/...`, `decoder/...` and those of the objective's `head/...`, and the
            averages of what is trained under `average/...`.
        optimizer: the optimizer's variables by position.
        best: averaged weights of the best epoch.
    """

    progress: Progress
    current: Weights
    optimizer: Weights
    best: Weights

    def save(self, folder: Path) -> None:
        """Write into an existing, empty folder."""
        save_weights(self.current, folder / _CURRENT)
        save_weights(self.optimizer, folder / _OPTIMIZER)
        save_weights(self.best, folder / BEST_WEIGHTS)
        (folder / _PROGRESS).write_text(json.dumps(asdict(self.progress), indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read what `save` wrote."""
        return cls(
            read_progress(folder),
            load_weights(folder / _CURRENT),
            load_weights(folder / _OPTIMIZER),
            load_weights(folder / BEST_WEIGHTS),
        )


def read_progress(folder: Path) -> Progress:
    """What a saved snapshot says is done."""
    return Progress(**json.loads((folder / _PROGRESS).read_text(encoding="utf-8")))

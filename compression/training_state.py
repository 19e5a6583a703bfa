"""How far a step's training has come, in a file: a step whose process was lost goes on from its last epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from caption_core.models.weights import Weights
from caption_core.training.optimization import AveragedWeights
from compression.files import write_bytes

History = list[dict[str, Any]]

Arrays = Mapping[str, NDArray[Any]]

_PATTERN = "training-*.safetensors"


def state_path(folder: Path, number: int) -> Path:
    """Where the state of a step's training number `number` is."""
    return folder / _PATTERN.replace("*", str(number))


def remove_states(folder: Path) -> None:
    """Delete what a finished step's trainings left."""
    for path in folder.glob(_PATTERN):
        path.unlink()


@dataclass(slots=True)
class Finished:
    """What finished epochs left.

    Attributes:
        best: the best epoch's weights.
        best_score: their score; -inf before one counted.
        history: an entry an epoch.
    """

    best: Weights
    best_score: float = -np.inf
    history: History = field(default_factory=list)


class TrainingState:
    """A training's file.

    Args:
        path: the file, which need not be there.
        variables: all that updates change, in an order that does not change.
        averages: of weights.
        log: takes lines of progress.
    """

    def __init__(
        self, path: Path, variables: Sequence[tf.Variable], averages: AveragedWeights, log: Callable[[str], None]
    ) -> None:
        self._path, self._variables, self._averages, self._log = path, variables, averages, log

    def save(self, finished: Finished) -> None:
        """Write the state after an epoch, whole or not at all."""
        arrays = self._arrays() | {f"best/{name}": array for name, array in finished.best.items()}
        figures = {"best_score": finished.best_score, "history": finished.history, "updates": self._averages.updates}
        # Not np.ascontiguousarray: it would turn a scalar into a vector.
        content = {name: np.asarray(array, order="C") for name, array in arrays.items()}
        write_bytes(self._path, save(content, {"finished": json.dumps(figures)}))

    def restore(self) -> Finished | None:
        """Set variables and averages to what was written last; None, with nothing set, where that is of no use."""
        if not self._path.exists():
            return None
        try:
            arrays, figures = _read(self._path)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            self._log(f"{self._path.name} can't be read, so the training begins anew: {error}")
            return None
        best = {name.removeprefix("best/"): array for name, array in arrays.items() if name.startswith("best/")}
        if _shapes(arrays) != _shapes({**self._arrays(), **{f"best/{name}": array for name, array in best.items()}}):
            self._log(f"{self._path.name} is of another training, which begins anew")
            return None
        self._assign(arrays, figures["updates"])
        self._log(f"goes on after epoch {len(figures['history'])}")
        return Finished(best, figures["best_score"], figures["history"])

    def _arrays(self) -> dict[str, NDArray[Any]]:
        variables = {f"variable/{number}": variable.numpy() for number, variable in enumerate(self._variables)}
        return variables | {f"average/{number}": value for number, value in enumerate(self._averages.values)}

    def _assign(self, arrays: Arrays, updates: int) -> None:
        for number, variable in enumerate(self._variables):
            variable.assign(arrays[f"variable/{number}"])
        self._averages.values = [arrays[f"average/{number}"] for number in range(len(self._averages.values))]
        self._averages.updates = updates


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    with safe_open(path, "np") as file:
        figures = json.loads(file.metadata()["finished"])
        return {name: file.get_tensor(name) for name in file.keys()}, figures  # noqa: SIM118 - no mapping


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}

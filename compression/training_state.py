"""How far a step's training has come, in a file: a step whose process was lost goes on from its last epoch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from caption_core.models.weights import Weights, weights_bytes
from caption_core.training.optimization import AveragedWeights
from compression.files import write_bytes

History = list[dict[str, Any]]

Arrays = Mapping[str, NDArray[Any]]

_FORMAT = 1  # of what is written; others begin anew


@dataclass(slots=True)
class Finished:
    """What finished epochs left.

    Attributes:
        best: the best weights, those of an epoch or those before the first.
        best_score: their score; -inf where none counts yet.
        best_epoch: the epoch, from 1; 0 for before the first.
        history: an entry an epoch.
    """

    best: Weights
    best_score: float = -np.inf
    best_epoch: int = 0
    history: History = field(default_factory=list)


class TrainingState:
    """A training's file.

    Args:
        path: the file, which need not be there.
        variables: all that updates change, in an order that does not change.
        averages: of weights.
        origin: what the training began with; what is kept of another one is of no use.
        log: takes lines of progress.
    """

    def __init__(
        self,
        path: Path,
        variables: Sequence[tf.Variable],
        averages: AveragedWeights,
        origin: Sequence[str],
        log: Callable[[str], None],
    ) -> None:
        self._path, self._variables, self._averages, self._log = path, variables, averages, log
        self._origin = json.dumps([_FORMAT, *origin])

    def save(self, finished: Finished) -> None:
        """Write the state after an epoch, whole or not at all. Where it can't be written, training goes on without."""
        arrays = self._arrays() | _best(finished.best)
        figures = asdict(replace(finished, best={})) | {"updates": self._averages.updates}
        content = weights_bytes(arrays, {"origin": self._origin, "finished": json.dumps(figures)})
        try:
            write_bytes(self._path, content)
        except OSError as error:
            self._log(f"the epoch can't be kept for a process after this one: {error}")

    def restore(self, weights: Weights) -> Finished | None:
        """Set variables and averages to what was written last; None, with nothing set, where that is of no use.

        Args:
            weights: of the model, as the best ones have to look.
        """
        if not self._path.exists():
            return None
        try:
            arrays, figures = self._read()
            if _shapes(arrays) != _shapes(self._arrays() | _best(weights)):
                raise ValueError("it is of another model")
            updates = figures.pop("updates")
            best = {name: arrays[key] for name, key in zip(weights, _best(weights), strict=True)}
            finished = Finished(**figures | {"best": best})
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            self._log(f"training {self._path.stem} begins anew: {self._path.name} is of no use: {error}")
            return None
        self._assign(arrays, updates)
        self._log(f"goes on after epoch {len(finished.history)}")
        return finished

    def _read(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        with safe_open(self._path, "np") as file:
            metadata = file.metadata() or {}
            if metadata.get("origin") != self._origin:
                raise ValueError("its training began with something else")
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["finished"])  # noqa: SIM118

    def _arrays(self) -> dict[str, NDArray[Any]]:
        variables = {f"variable/{number}": variable.numpy() for number, variable in enumerate(self._variables)}
        return variables | {f"average/{number}": value for number, value in enumerate(self._averages.values)}

    def _assign(self, arrays: Arrays, updates: int) -> None:
        for number, variable in enumerate(self._variables):
            variable.assign(arrays[f"variable/{number}"])
        self._averages.values = [arrays[f"average/{number}"] for number in range(len(self._averages.values))]
        self._averages.updates = updates


def _best(weights: Weights) -> dict[str, NDArray[Any]]:
    return {f"best/{name}": array for name, array in weights.items()}


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: array.shape for name, array in arrays.items()}

"""A step that was interrupted goes on after its last whole epoch, as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from caption_core.bundle import open_bundle
from caption_core.models.weights import Weights, bundle_weights
from compression.context import StepContext
from compression.settings.clustering import Cluster
from compression.settings.pruning import Magnitude, Supermask
from compression.settings.step import Step
from compression.settings.training import Training
from compression.step_registry import apply_step
from compression.variants import RECORD
from tests.compression.builders import with_weights
from tests.compression.conftest import MakeContext

TRAINING = Training(epochs=2, learning_rate=0.01, warmup_steps=0, batch_images=4)
GATED = Supermask(sparsity=0.4, gate_learning_rate=1.0, initial_gate=0.5, training=TRAINING, fine_tuning=TRAINING)
GRADUAL = Magnitude(part="decoder", sparsity=0.5, every=1, training=TRAINING)
CLUSTERED = Cluster(part="decoder", clusters=6, training=TRAINING)


class ProcessLostError(Exception):
    """What ends a step's process."""


@pytest.fixture(scope="module")
def sparse(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose decoder has zeros, which trainings keep."""

    def prune(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.where(np.abs(array) < 0.01, np.float32(0), array) if name.startswith("decoder/") else array

    return with_weights(tiny_bundle, tmp_path_factory.mktemp("sparse") / "bundle", prune)


def lost_after(epochs: int, context: StepContext) -> StepContext:
    """A context whose step ends when so many epochs are whole."""
    seen = []

    def log(line: str) -> None:
        seen.append(line) if line.startswith("epoch=") else None
        if len(seen) == epochs:
            raise ProcessLostError

    return replace(context, log=log)


def told(context: StepContext) -> tuple[StepContext, list[str]]:
    lines: list[str] = []
    return replace(context, log=lines.append), lines


def result(folder: Path) -> tuple[Weights, list[dict[str, Any]]]:
    record = json.loads((folder / RECORD).read_text())
    history = record["history"] + record.get("fine_tuning", [])
    return bundle_weights(open_bundle(folder / "bundle")), [{**epoch, "seconds": 0} for epoch in history]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "losses"), [(GATED, (1, 2)), (GRADUAL, (1,)), (CLUSTERED, (1,))])
def test_an_interrupted_step_goes_on_as_if_nothing_had_happened(
    make_context: MakeContext, sparse: Path, step: Step, losses: tuple[int, ...]
) -> None:
    whole, again = (make_context(parent=sparse, name=name) for name in ("whole", "again"))
    apply_step(step, whole)
    for epochs in losses:
        with pytest.raises(ProcessLostError):
            apply_step(step, lost_after(epochs, again))
        again.folder.joinpath("trainings", "_0.partial").write_bytes(b"what a kill left of a file")
    resumed, lines = told(again)
    apply_step(step, resumed)

    expected, history = result(whole.folder)
    found, found_history = result(again.folder)
    assert sum(line.startswith("epoch=") for line in lines) == len(history) - sum(losses)
    assert found_history == history
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, atol=1e-5, err_msg=name)
    assert {path.name for path in again.folder.iterdir()} == {"bundle", RECORD}


@pytest.mark.slow
def test_epochs_of_another_parent_are_of_no_use(make_context: MakeContext, sparse: Path) -> None:
    with pytest.raises(ProcessLostError):
        apply_step(GRADUAL, lost_after(1, make_context(parent=sparse)))
    context, lines = told(make_context())
    apply_step(GRADUAL, context)
    assert any("began with something else" in line for line in lines)
    assert sum(line.startswith("epoch=") for line in lines) == 2


@pytest.mark.slow
def test_a_step_that_can_not_keep_its_epochs_is_taken_all_the_same(make_context: MakeContext) -> None:
    context, lines = told(make_context())
    context.folder.mkdir()
    context.folder.joinpath("trainings").write_text("no folder")
    apply_step(GRADUAL, context)
    assert sum("can't be kept" in line for line in lines) == 2
    assert context.output.exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"no tensors", None])
def test_a_file_that_is_of_no_use_costs_a_line_and_the_epochs(make_context: MakeContext, content: bytes | None) -> None:
    with pytest.raises(ProcessLostError):
        apply_step(GRADUAL, lost_after(1, make_context()))
    context, lines = told(make_context())
    path = context.folder / "trainings" / "0.safetensors"
    step: Step = GRADUAL
    if content is None:
        step = GRADUAL.model_copy(update={"layers": ("gates_from_h",)})  # fewer masks
    else:
        assert path.exists()
        path.write_bytes(content)
    apply_step(step, context)
    assert sum("begins anew" in line for line in lines) == 1
    assert sum(line.startswith("epoch=") for line in lines) == 2

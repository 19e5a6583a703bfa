"""A step that was interrupted goes on after its last whole epoch, as if nothing had happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_core.bundle import open_bundle
from caption_core.models.weights import Weights, bundle_weights
from compression.context import StepContext
from compression.settings.clustering import Cluster
from compression.settings.pruning import Magnitude, Supermask
from compression.settings.step import Step
from compression.settings.training import Training
from compression.step_registry import apply_step
from compression.variants import RECORD
from tests.compression.conftest import MakeContext

TRAINING = Training(epochs=2, learning_rate=0.01, warmup_steps=0, batch_images=4)
GATED = Supermask(sparsity=0.4, gate_learning_rate=1.0, initial_gate=0.5, training=TRAINING, fine_tuning=TRAINING)
GRADUAL = Magnitude(part="decoder", sparsity=0.5, every=1, training=TRAINING)
CLUSTERED = Cluster(part="decoder", clusters=6, training=TRAINING)


class ProcessLostError(Exception):
    """What ends a step's process."""


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


@pytest.mark.parametrize(("step", "losses"), [(GATED, (1, 2)), (GRADUAL, (1,)), (CLUSTERED, (1,))])
def test_an_interrupted_step_goes_on_as_if_nothing_had_happened(
    make_context: MakeContext, step: Step, losses: tuple[int, ...]
) -> None:
    whole, again = make_context(name="whole"), make_context(name="again")
    apply_step(step, whole)
    for epochs in losses:
        with pytest.raises(ProcessLostError):
            apply_step(step, lost_after(epochs, make_context(name="again")))
    resumed, lines = told(again)
    apply_step(step, resumed)

    expected, history = result(whole.folder)
    found, found_history = result(again.folder)
    assert sum(line.startswith("epoch=") for line in lines) == len(history) - sum(losses)
    assert found_history == history
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, atol=1e-5, err_msg=name)
    assert {path.name for path in again.folder.iterdir()} == {"bundle", RECORD}


@pytest.mark.parametrize("content", [b"no tensors", None])
def test_a_file_that_is_of_no_use_costs_a_line_and_the_epochs(make_context: MakeContext, content: bytes | None) -> None:
    with pytest.raises(ProcessLostError):
        apply_step(GRADUAL, lost_after(1, make_context()))
    context, lines = told(make_context())
    path = context.folder / "training-0.safetensors"
    step: Step = GRADUAL
    if content is None:
        step = GRADUAL.model_copy(update={"layers": ("gates_from_h",)})  # fewer masks
    else:
        path.write_bytes(content)
    apply_step(step, context)
    assert sum("begins anew" in line for line in lines) == 1
    assert sum(line.startswith("epoch=") for line in lines) == 2

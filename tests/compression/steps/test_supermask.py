from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.models.weights import named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.masks import sparsity_of
from compression.places import places_of
from compression.settings.pruning import Hard, Supermask
from compression.settings.training import Training
from compression.steps.hard import apply as prune
from compression.steps.supermask import apply
from compression.variants import RECORD
from tests.compression.conftest import MakeContext

TRAINING = Training(epochs=20, learning_rate=0.003, warmup_steps=0)


def _step(**changes: Any) -> Supermask:
    return Supermask(**{"sparsity": 0.7, "gate_optimizer": "adam", "gate_learning_rate": 0.5, **changes})


def _sparsity(folder_or_bundle: Any) -> float:
    return sparsity_of(places_of(load_model(folder_or_bundle), "decoder"))


@pytest.mark.parametrize("restart", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_bundle_has_the_sparsity_exactly(make_context: MakeContext, restart: bool) -> None:
    context = make_context()
    bundle = apply(_step(restart=restart, training=TRAINING), context)

    places = places_of(load_model(bundle), "decoder")
    elements = sum(place.variable.shape.num_elements() for place in places)
    assert sparsity_of(places) == round(0.7 * elements) / elements
    record = json.loads((context.folder / RECORD).read_text())
    assert record["sparsity"] == sparsity_of(places)
    assert len(record["history"]) == 20
    assert record["history"][0]["gates_sparsity"] < record["history"][-1]["gates_sparsity"]
    assert record["gates_sparsity"] == pytest.approx(0.7, abs=0.05)


@pytest.mark.slow
def test_fine_tuning_keeps_the_masks(make_context: MakeContext) -> None:
    training, further = (Training(epochs=epochs, learning_rate=0.003, warmup_steps=0) for epochs in (1, 2))
    context = make_context()
    places = places_of(load_model(apply(_step(training=training, fine_tuning=further), context)), "decoder")

    elements = sum(place.variable.shape.num_elements() for place in places)
    assert sparsity_of(places) == round(0.7 * elements) / elements
    assert [epoch["epoch"] for epoch in json.loads((context.folder / RECORD).read_text())["fine_tuning"]] == [1, 2]


@pytest.mark.slow
def test_a_miss_is_told_and_made_good_by_ranking(make_context: MakeContext) -> None:
    lines: list[str] = []
    context = replace(make_context(), log=lines.append)
    bundle = apply(_step(gate_learning_rate=1e-3, training=Training(epochs=1)), context)
    assert _sparsity(bundle) == pytest.approx(0.7, abs=1e-4)
    assert any("the gates came to a sparsity of 0.000, not 0.7" in line for line in lines)


@pytest.mark.slow
def test_zeros_of_the_parent_stay_and_count(make_context: MakeContext) -> None:
    pruned = prune(Hard(part="decoder", sparsity=0.4), make_context(captions=False, name="pruned"))
    bundle = apply(_step(training=Training(epochs=2)), make_context(parent=pruned.folder))
    for old, new in zip(*(places_of(load_model(made), "decoder") for made in (pruned, bundle)), strict=True):
        assert not new.variable.numpy()[old.variable.numpy() == 0].any()
    assert _sparsity(bundle) == pytest.approx(0.7, abs=1e-4)


@pytest.mark.slow
def test_encoder_is_gated_where_it_trains(make_context: MakeContext) -> None:
    context = make_context()
    training = Training(epochs=2, learning_rate=1e-4, warmup_steps=0, encoder_from="block_16")
    step = _step(part="encoder", layers=("block_15_expand", "block_16_expand"), training=training)
    places = places_of(load_model(apply(step, context)), "encoder", step.layers)
    assert [sparsity_of([place]) for place in places] == [pytest.approx(0.7, abs=1e-4)] * 2
    assert json.loads((context.folder / RECORD).read_text())["pruned_at_once"] == ["encoder/block_15_expand/kernel"]


@pytest.mark.slow
def test_a_seed_decides_masks_and_weights(make_context: MakeContext) -> None:
    step = _step(training=Training(epochs=2, learning_rate=0.003))
    bundles = [apply(step, make_context(name=name)) for name in ("first", "second")]
    one, other = (named_weights("decoder", load_model(bundle).decoder) for bundle in bundles)
    for name, weights in one.items():
        np.testing.assert_allclose(weights, other[name], atol=1e-4)


def test_encoder_that_does_not_train_is_refused(make_context: MakeContext, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="supermask prunes while weights train, and none of the encoder's does"):
        apply(_step(part="encoder"), make_context())
    assert not (tmp_path / "step").exists()

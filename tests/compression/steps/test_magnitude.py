from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.errors import UsageError
from caption_core.runtimes.tensorflow import load_model
from compression.masks import sparsity_of
from compression.places import places_of
from compression.settings.pruning import Magnitude
from compression.settings.training import Training
from compression.steps.magnitude import Course, GradualMasks, apply
from compression.variants import RECORD
from tests.compression.builders import normal_weights, place_of
from tests.compression.conftest import MakeContext


def _sparsities(step: Magnitude, updates: int) -> tuple[GradualMasks, list[float], list[bool]]:
    """What a schedule does to a matrix whose weights are all disturbed by each update: after each, from step 0 on."""
    place = place_of("decoder/a/kernel", normal_weights(40, 50))
    masks = GradualMasks([place], step)
    masks.begin(updates)
    sparsities, settled = [sparsity_of([place])], []
    for update in range(updates):
        masks.before_update(update, updates)
        place.variable.assign_add(0.01 * normal_weights(40, 50, seed=update))
        masks.after_update(update, updates)
        sparsities.append(sparsity_of([place]))
        settled.append(masks.is_settled((update + 1) / updates))
    return masks, sparsities, settled


def test_sparsity_rises_along_the_polynomial() -> None:
    step = Magnitude(part="decoder", sparsity=0.8, initial_sparsity=0.2, begin=0.1, end=0.7, every=5)
    masks, sparsities, settled = _sparsities(step, 100)

    assert sparsities[:10] == [0.0] * 10
    assert sparsities[10] == pytest.approx(0.2, abs=5e-4)
    assert sparsities == sorted(sparsities)
    for at in range(10, 71, 5):
        wanted = 0.8 - 0.6 * (1 - (at - 10) / 60) ** 3
        assert sparsities[at] == pytest.approx(wanted, abs=5e-4)
        assert sparsities[at + 1] == sparsities[at]
    assert sparsities[-1] == pytest.approx(0.8, abs=5e-4)
    assert settled == [False] * 69 + [True] * 31
    assert masks.figures() == {"sparsity": 0.8}


def test_constant_schedule_prunes_at_once() -> None:
    step = Magnitude(part="decoder", sparsity=0.6, schedule="constant", begin=0.5, every=3)
    _, sparsities, settled = _sparsities(step, 20)

    assert sparsities[:10] == [0.0] * 10
    assert sparsities[10:] == [pytest.approx(0.6, abs=5e-4)] * 11
    assert not settled[8]
    assert settled[-1]


def test_neighbours_are_pruned_where_the_schedule_begins() -> None:
    _, sparsities, settled = _sparsities(Magnitude(part="decoder", sparsity=0.5, pattern="m_by_n", begin=0.5), 10)

    assert sparsities == [0.0] * 5 + [0.5] * 6
    assert settled == [False] * 4 + [True] * 6


def test_averages_are_scored_with_what_was_pruned_left_out() -> None:
    place = place_of("decoder/a/kernel", normal_weights(10, 10))
    masks = GradualMasks([place], Magnitude(part="decoder", sparsity=0.5, schedule="constant"))
    masks.begin(10)
    averages = normal_weights(10, 10, seed=1)
    place.variable.assign(averages)
    with masks.materialized():
        assert sparsity_of([place]) == 0.5
    np.testing.assert_array_equal(place.variable.numpy(), averages)


@given(
    updates=st.integers(1, 3000),
    begin=st.floats(0.0, 0.99),
    length=st.floats(0.01, 1.0),
    every=st.integers(1, 500),
)
def test_last_change_of_a_course_comes_in_time(updates: int, begin: float, length: float, every: int) -> None:
    step = Magnitude(part="decoder", sparsity=0.5, begin=begin, end=min(1.0, begin + length), every=every)
    course = Course.of(step, updates)

    assert 0 <= course.begin < course.end <= updates
    assert course.changes_at(course.begin)
    assert course.changes_at(course.end)
    assert not course.changes_at(course.end + course.every)
    assert course.end > int(step.end * updates) - every


def _step(**changes: object) -> Magnitude:
    training = Training(epochs=5, learning_rate=0.003, warmup_steps=0)
    return Magnitude(**{"part": "decoder", "sparsity": 0.7, "every": 1, "training": training, **changes})  # type: ignore[arg-type]


@pytest.mark.slow
def test_bundle_has_the_sparsity_in_every_matrix(make_context: MakeContext) -> None:
    context = make_context()
    places = places_of(load_model(apply(_step(), context)), "decoder")

    for place in places:
        zeros = np.count_nonzero(place.variable.numpy() == 0)
        assert abs(zeros - 0.7 * place.variable.shape.num_elements()) <= 1
    record = json.loads((context.folder / RECORD).read_text())
    assert record["sparsity"] == pytest.approx(0.7, abs=1e-3)
    rising = [epoch["sparsity"] for epoch in record["history"]]
    assert rising == sorted(rising)
    assert rising[0] < 0.69
    assert record["pruned_at_once"] == []


@pytest.mark.slow
def test_encoder_before_the_trained_block_is_pruned_at_once(make_context: MakeContext) -> None:
    context = make_context()
    training = Training(epochs=2, learning_rate=1e-4, warmup_steps=0, encoder_from="block_16")
    step = _step(part="encoder", sparsity=0.5, layers=("block_15_expand", "block_16_expand"), training=training)
    places = places_of(load_model(apply(step, context)), "encoder", step.layers)

    assert [place.name for place in places] == ["encoder/block_15_expand/kernel", "encoder/block_16_expand/kernel"]
    assert sparsity_of(places[:1]) == pytest.approx(0.5, abs=1e-4)
    assert sparsity_of(places[1:]) == pytest.approx(0.5, abs=1e-4)
    assert json.loads((context.folder / RECORD).read_text())["pruned_at_once"] == [places[0].name]


def test_encoder_that_does_not_train_is_refused(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="none of the encoder's does"):
        apply(_step(part="encoder"), make_context())


def test_layers_that_are_not_there_are_refused(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="'nowhere'"):
        apply(_step(layers=("nowhere",)), make_context())


def test_convolutions_that_blocks_do_not_fit_are_refused(make_context: MakeContext) -> None:
    training = Training(epochs=1, encoder_from="pixels")
    with pytest.raises(UsageError, match="encoder/Conv1/kernel: blocks need a matrix or a convolution of 1x1"):
        apply(_step(part="encoder", pattern="block", training=training), make_context())

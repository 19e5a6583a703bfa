from __future__ import annotations

import json
from typing import Literal

import numpy as np
import pytest

from caption_core.models.weights import named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.masks import magnitude_masks, sparsity_of
from compression.places import places_of
from compression.random_weights import restart_decoder
from compression.settings.pruning import LotteryTicket
from compression.settings.training import Training
from compression.steps.lottery_ticket import apply, find_ticket, rewind, round_sparsities
from compression.variants import RECORD
from tests.compression.conftest import MakeContext

Start = Literal["parent", "random"]

TRAINING = Training(epochs=1, learning_rate=0.01, warmup_steps=0)


def test_what_remains_falls_geometrically() -> None:
    assert round_sparsities(0.875, 3) == [pytest.approx(0.5), pytest.approx(0.75), 0.875]
    assert round_sparsities(0.9, 1) == [0.9]


@pytest.mark.slow
def test_survivors_of_all_rounds_are_the_first_weights(make_context: MakeContext) -> None:
    context = make_context()
    model = load_model(context.parent)
    restart_decoder(context, model)
    first = named_weights("decoder", model.decoder)
    places = places_of(model, "decoder")
    step = LotteryTicket(sparsity=0.75, method="blind", rounds=2, rewind="random", training=TRAINING)
    history = find_ticket(step, context, model, places)

    assert [epoch["training"] for epoch in history] == [1, 2]
    elements = sum(place.variable.shape.num_elements() for place in places)
    assert sparsity_of(places) == round(0.75 * elements) / elements
    pruned = {place.name for place in places}
    for name, weights in named_weights("decoder", model.decoder).items():
        kept = weights != 0 if name in pruned else np.ones_like(weights, bool)
        np.testing.assert_array_equal(weights[kept], first[name][kept])


def test_rewinding_keeps_the_largest_trained_weights(make_context: MakeContext) -> None:
    model = load_model(make_context(captions=False).parent)
    places = places_of(model, "decoder")
    first = named_weights("encoder", model.encoder) | named_weights("decoder", model.decoder)
    generator = np.random.default_rng(0)
    for place in places:
        place.variable.assign(generator.normal(size=place.variable.shape))
    masks = magnitude_masks(places, 0.9, "blind")
    rewind(model, places, first, masks)
    for place in places:
        np.testing.assert_array_equal(place.variable.numpy(), np.where(masks[place.name], first[place.name], 0.0))


@pytest.mark.parametrize("start", ["parent", pytest.param("random", marks=pytest.mark.slow)])
def test_bundle_has_the_sparsity_exactly(make_context: MakeContext, start: Start) -> None:
    context = make_context()
    bundle = apply(LotteryTicket(sparsity=0.6, method="blind", rounds=2, rewind=start, training=TRAINING), context)

    places = places_of(load_model(bundle), "decoder")
    elements = sum(place.variable.shape.num_elements() for place in places)
    assert sparsity_of(places) == round(0.6 * elements) / elements
    record = json.loads((context.folder / RECORD).read_text())
    assert [epoch["training"] for epoch in record["history"]] == [1, 2, 3]
    assert record["rounds"] == round_sparsities(0.6, 2)


@pytest.mark.slow
def test_every_matrix_is_pruned_alike_by_default(make_context: MakeContext) -> None:
    context = make_context()
    model = load_model(context.parent)
    places = places_of(model, "decoder")
    for number, place in enumerate(places):
        place.variable.assign(place.variable.numpy() * 10.0 ** (-3 * (number % 2)))
    find_ticket(LotteryTicket(sparsity=0.75, rounds=2, training=TRAINING), context, model, places)
    for place in places:
        elements = place.variable.shape.num_elements()
        assert np.count_nonzero(place.variable.numpy() == 0) == round(0.75 * elements), place.name


@pytest.mark.slow
def test_a_seed_decides_the_ticket(make_context: MakeContext) -> None:
    step = LotteryTicket(sparsity=0.5, rounds=1, rewind="random", training=TRAINING)
    bundles = [apply(step, make_context(name=name)) for name in ("first", "second")]
    one, other = (named_weights("decoder", load_model(bundle).decoder) for bundle in bundles)
    for name, weights in one.items():
        np.testing.assert_allclose(weights, other[name], atol=1e-4)

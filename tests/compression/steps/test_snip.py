from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from caption_core.bundle import Bundle
from caption_core.runtimes.tensorflow import load_model
from compression.fine_tuning import Tuner
from compression.masks import global_masks, sparsity_of
from compression.places import places_of
from compression.random_weights import restart_decoder
from compression.settings.pruning import Snip
from compression.settings.training import Training
from compression.steps.snip import apply, sensitivities
from compression.variants import RECORD
from tests.compression.builders import place_of
from tests.compression.conftest import MakeContext

TRAINING = Training(epochs=2, learning_rate=0.01, warmup_steps=0)


def test_kept_are_the_largest_products_of_weight_and_gradient() -> None:
    places = [place_of("a", np.array([[1.0, -2.0], [0.5, 4.0]])), place_of("b", np.array([[10.0, -1.0]]))]
    variables = [places[1].variable, tf.Variable(3.0), places[0].variable]
    first = [tf.constant([[0.1, -2.0]]), tf.constant(1.0), tf.constant([[0.0, 1.0], [-8.0, 0.1]])]
    second = [tf.constant([[-0.1, 1.0]]), tf.constant(1.0), tf.constant([[0.5, -1.0], [8.0, 0.1]])]
    scores = sensitivities(places, variables, [first, second])

    np.testing.assert_allclose(scores["a"], [[0.5, 4.0], [8.0, 0.8]], rtol=1e-6)  # signs don't cancel over batches
    np.testing.assert_allclose(scores["b"], [[2.0, 3.0]], rtol=1e-6)
    masks = global_masks(scores, 0.5)
    np.testing.assert_array_equal(masks["a"], [[False, True], [True, False]])
    np.testing.assert_array_equal(masks["b"], [[False, True]])


@pytest.mark.slow
def test_gradients_are_repeatable_and_change_nothing(make_context: MakeContext) -> None:
    context = make_context()
    model = load_model(context.parent)
    places = places_of(model, "decoder")
    before = model.decoder.get_weights()
    tuner = Tuner(context, model, TRAINING)
    (gradients,) = tuner.gradients(1)
    (again,) = tuner.gradients(1)
    for old, new in zip(before, model.decoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for one, other, variable in zip(gradients, again, tuner.variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert one.shape == variable.shape
    scores = sensitivities(places, tuner.variables, [gradients])
    assert all(score.shape == place.variable.shape for score, place in zip(scores.values(), places, strict=True))
    assert all((score >= 0).all() and score.any() for score in scores.values())


def _check_sparsity(bundle: Bundle, sparsity: float) -> None:
    places = places_of(load_model(bundle), "decoder")
    elements = sum(place.variable.shape.num_elements() for place in places)
    assert sparsity_of(places) == round(sparsity * elements) / elements


@pytest.mark.slow
def test_bundle_has_the_sparsity_exactly(make_context: MakeContext) -> None:
    context = make_context()
    bundle = apply(Snip(sparsity=0.63, batches=2, training=TRAINING), context)

    _check_sparsity(bundle, 0.63)
    record = json.loads((context.folder / RECORD).read_text())
    assert record["sparsity"] == pytest.approx(0.63, abs=1e-3)
    assert len(record["history"]) == 2
    assert record["pruned_at_once"] == []


@pytest.mark.slow
def test_masks_of_a_restart_are_those_of_its_random_weights(make_context: MakeContext) -> None:
    context = make_context()
    bundle = apply(Snip(sparsity=0.5, batches=1, restart=True, training=TRAINING), context)
    _check_sparsity(bundle, 0.5)

    model = load_model(context.parent)
    restart_decoder(context, model)
    tuner = Tuner(context, model, TRAINING)
    scores = sensitivities(places_of(model, "decoder"), tuner.variables, tuner.gradients(1))
    kept = {place.name: place.variable.numpy() != 0 for place in places_of(load_model(bundle), "decoder")}
    for name, mask in global_masks(scores, 0.5).items():
        assert np.mean(kept[name] != mask) < 1e-3

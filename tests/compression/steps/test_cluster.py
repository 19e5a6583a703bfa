from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.errors import UsageError
from caption_core.runtimes.tensorflow import load_model
from compression.masks import sparsity_of
from compression.places import places_of
from compression.settings.clustering import Cluster
from compression.settings.pruning import Hard, Magnitude
from compression.settings.training import Training
from compression.steps import hard, magnitude
from compression.steps.cluster import Clusters, apply, distinct_values
from compression.variants import RECORD
from tests.compression.builders import normal_weights, place_of
from tests.compression.conftest import MakeContext

TRAINING = Training(epochs=3, learning_rate=0.003, warmup_steps=0)


def _sparse_weights(*shape: int) -> np.ndarray:
    weights = normal_weights(*shape)
    return np.where(np.abs(weights) < 0.07, np.float32(0.0), weights)


@settings(deadline=None, max_examples=25)
@given(clusters=st.integers(3, 9), seed=st.integers(0, 100), share=st.floats(0.0, 0.9))
def test_few_values_are_left_and_each_is_the_nearest(clusters: int, seed: int, share: float) -> None:
    weights = normal_weights(12, 10, seed=seed)
    weights[np.random.default_rng(seed).random(weights.shape) < share] = 0
    place = place_of("a", weights)
    Clusters([place], Cluster(part="decoder", clusters=clusters)).write()

    written = place.variable.numpy()
    values = np.unique(written)
    assert values.size <= clusters
    assert (written[weights == 0] == 0).all()
    distances = np.abs(weights[..., None] - values)
    np.testing.assert_allclose(np.abs(weights - written), distances.min(axis=-1), atol=1e-7)


def test_channels_have_values_of_their_own() -> None:
    weights = (normal_weights(1, 1, 40, 6) * np.arange(1, 7)).astype(np.float32)
    place = place_of("encoder/a/kernel", weights)
    Clusters([place], Cluster(part="encoder", clusters=4, per_channel=True)).write()

    assert distinct_values(place, per_channel=True) == 4
    assert distinct_values(place) == 24
    relative = np.abs(place.variable.numpy() - weights).mean(axis=(0, 1, 2)) / np.abs(weights).mean(axis=(0, 1, 2))
    assert relative.max() < 0.4


def test_gradients_are_sums_over_clusters_and_go_to_weights_as_they_are() -> None:
    place = place_of("a", _sparse_weights(10, 10))
    constraint = Clusters([place], Cluster(part="decoder", clusters=5))
    upstream = normal_weights(10, 10, seed=1)
    with tf.GradientTape() as tape:
        read = constraint.values(tf.constant([0, 0]))["a"]
        loss = tf.reduce_sum(read * upstream)
    to_weights, to_centroids = tape.gradient(loss, [place.variable, *constraint.variables])

    zero = place.variable.numpy() == 0
    np.testing.assert_allclose(to_weights, np.where(zero, 0, upstream), atol=1e-6)
    centroids = constraint.variables[0].numpy()[0]
    sums = [upstream[read.numpy() == value].sum() for value in centroids]
    np.testing.assert_allclose(tf.convert_to_tensor(to_centroids)[0], sums, rtol=1e-4, atol=1e-5)


def test_zero_stays_a_centroid_when_centroids_are_trained() -> None:
    place = place_of("a", _sparse_weights(10, 10))
    constraint = Clusters([place], Cluster(part="decoder", clusters=5))
    before = constraint.variables[0].numpy()
    constraint.before_update(100, 200)
    constraint.apply_gradients([tf.ones_like(before)])

    after = constraint.variables[0].numpy()
    assert ((after == 0) == (before == 0)).all()
    assert (after[before != 0] != before[before != 0]).all()


def test_weights_come_back_after_they_are_shown_clustered() -> None:
    weights = normal_weights(10, 10)
    place = place_of("a", weights)
    constraint = Clusters([place], Cluster(part="decoder", clusters=5))
    with constraint.materialized():
        assert distinct_values(place) == 5
    np.testing.assert_array_equal(place.variable.numpy(), weights)


@pytest.mark.slow
@pytest.mark.parametrize("training", [None, TRAINING])
def test_bundle_has_so_many_values_in_every_matrix(make_context: MakeContext, training: Training | None) -> None:
    context = make_context(captions=training is not None)
    bundle = apply(Cluster(part="decoder", clusters=8, training=training), context)

    places = places_of(load_model(bundle), "decoder")
    values = {place.name: distinct_values(place) for place in places}
    assert max(values.values()) == 8
    record = json.loads((context.folder / RECORD).read_text())
    assert record["distinct_values"] == values
    assert len(record["history"]) == (0 if training is None else 3)


@pytest.mark.slow
@pytest.mark.parametrize("training", [None, TRAINING])
def test_zeros_stay_zeros(make_context: MakeContext, training: Training | None) -> None:
    pruned = hard.apply(Hard(part="decoder", sparsity=0.6), make_context(captions=False, name="pruned"))
    context = make_context(parent=pruned.folder, captions=training is not None)
    bundle = apply(Cluster(part="decoder", clusters=6, training=training), context)

    before, after = (places_of(load_model(each), "decoder") for each in (pruned, bundle))
    for old, new in zip(before, after, strict=True):
        assert (new.variable.numpy()[old.variable.numpy() == 0] == 0).all()
        assert distinct_values(new) <= 6
    assert 0.6 <= sparsity_of(after) < 0.75


@pytest.mark.slow
def test_gradual_pruning_and_clustering_make_a_chain(make_context: MakeContext) -> None:
    training = Training(epochs=4, learning_rate=0.003, warmup_steps=0)
    gradual = Magnitude(part="decoder", sparsity=0.5, every=1, training=training)
    pruned = magnitude.apply(gradual, make_context(name="pruned"))
    clustered = apply(Cluster(part="decoder", clusters=16, training=TRAINING), make_context(parent=pruned.folder))

    before, after = (places_of(load_model(each), "decoder") for each in (pruned, clustered))
    for old, new in zip(before, after, strict=True):
        assert (new.variable.numpy()[old.variable.numpy() == 0] == 0).all()
        assert distinct_values(new) <= 16
    assert any((new.variable.numpy() != old.variable.numpy()).any() for old, new in zip(before, after, strict=True))


def test_encoder_is_clustered_a_channel(make_context: MakeContext) -> None:
    step = Cluster(part="encoder", clusters=4, per_channel=True, layers=("block_1_expand",), training=None)
    (place,) = places_of(load_model(apply(step, make_context(captions=False))), "encoder", step.layers)

    assert distinct_values(place, per_channel=True) == 4
    assert distinct_values(place) > 4


def test_too_few_clusters_name_the_matrix(make_context: MakeContext) -> None:
    pruned = hard.apply(Hard(part="decoder", sparsity=0.5), make_context(captions=False, name="pruned"))
    step = Cluster(part="decoder", clusters=2, training=None)

    with pytest.raises(UsageError, match=r"decoder/.*: clusters: 2 are too few"):
        apply(step, make_context(parent=pruned.folder, captions=False))


def test_layers_that_are_not_there_are_refused(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="'nowhere'"):
        apply(Cluster(part="decoder", layers=("nowhere",)), make_context())


def test_channels_of_the_decoder_are_refused() -> None:
    with pytest.raises(ValueError, match="per_channel is for the encoder's convolutions"):
        Cluster(part="decoder", per_channel=True)

"""An encoder against a teacher's features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from caption_core.bundle import Bundle, open_bundle, write_bundle
from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from caption_core.models.encoders import build_encoder, split_encoder
from caption_core.models.tracing import as_graph
from caption_core.runtimes.tensorflow import load_model
from caption_core.training.features import FeatureCache, cached_features
from caption_core.training.objectives import ImageBatch
from compression.context import StepContext
from compression.feature_matching import FeatureMatching, on_grid_of, overlaps
from compression.fine_tuning import Tuner, load_training_data
from compression.settings.training import Training
from tests.compression.builders import loaded, with_weights
from tests.compression.conftest import MakeContext

BLOCK = "Conv_1"
TRAINING = Training(epochs=4, learning_rate=3e-3, warmup_steps=0, objective="features", encoder_from=BLOCK)
IMAGES = np.array([3, 0, 7, 1])

pytestmark = pytest.mark.usefixtures("teachers_loaded_once")


@pytest.fixture(scope="module")
def disturbed(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose encoder ends in another convolution than its parent's."""
    generator = np.random.default_rng(0)

    def change(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
        if name == "encoder/Conv_1/kernel":
            return array + generator.normal(scale=0.02, size=array.shape).astype(np.float32)
        return array

    return with_weights(tiny_bundle, tmp_path_factory.mktemp("disturbed") / "bundle", change)


@pytest.fixture(scope="module")
def of_64_pixels(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same encoder for smaller images, and so for smaller grids."""
    fields = open_bundle(tiny_bundle).manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["preprocessing"] |= {"height": 64, "width": 64}
    files: dict[str, Path | bytes] = {name: tiny_bundle / name for name in open_bundle(tiny_bundle).manifest.files}
    return write_bundle(tmp_path_factory.mktemp("small") / "bundle", fields, files)


class Substitute:
    """What is called like a Keras model and isn't one."""

    def __init__(self, model: tf_keras.Model) -> None:
        self._model = model
        self.trainable_variables, self.input_shape = model.trainable_variables, model.input_shape

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        return self._model(x, training=training)

    def predict_on_batch(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self._model.predict_on_batch(x)
        return found


def features(context: StepContext, encoder: tf_keras.Model) -> FeatureCache:
    data = load_training_data(context, TRAINING)
    return cached_features(encoder, data.train, context.cache, views=2, log=context.log)


def matching(context: StepContext, *, wrapped: bool = False) -> FeatureMatching:
    data, encoder = load_training_data(context, TRAINING), loaded(context.parent).encoder
    lower, upper = split_encoder(encoder, BLOCK)
    trained = Substitute(upper) if wrapped else upper
    return FeatureMatching(context, encoder, trained, data, features(context, lower), views=2)


def loss(objective: FeatureMatching, context: StepContext, view: int = 0) -> float:
    lower, _ = split_encoder(loaded(context.parent).encoder, BLOCK)
    views = np.full(len(IMAGES), view)
    activations = features(context, lower).batch(IMAGES, views)
    batch = objective.batch(ImageBatch(IMAGES, views, slice(None), activations, (1, 0)))
    parts = sum(float(objective.loss(*part.tensors())) for part in batch.parts(2))
    whole = float(as_graph(objective.loss, objective.loss.signature)(*batch.tensors()))
    assert parts == pytest.approx(whole, rel=1e-3)
    return whole


def test_an_encoder_agrees_with_itself(make_context: MakeContext) -> None:
    context = make_context()
    objective = matching(context)
    for view in (0, 1):
        assert loss(objective, context, view) < 1e-4  # what float16 caches leave
    assert objective.dev_scores()["feature_agreement"] > 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_loss_is_the_relative_error(make_context: MakeContext, disturbed: Path, wrapped: bool) -> None:
    context = make_context(parent=disturbed)
    found, wanted = (
        features(context, loaded(bundle).encoder).views[0].astype(np.float64)
        for bundle in (context.parent, context.teacher)
    )
    squares, wanted_squares = (values**2 for values in (found - wanted, wanted))
    objective = matching(context, wrapped=wrapped)
    expected = squares[IMAGES].sum() / wanted_squares[IMAGES].sum()
    assert expected > 0.01
    assert loss(objective, context) == pytest.approx(expected, rel=1e-2)
    agreement = 1 - squares.sum() / wanted_squares.sum()
    assert objective.dev_scores()["feature_agreement"] == pytest.approx(agreement, abs=1e-3)


def test_training_leads_back_to_the_teachers_features(make_context: MakeContext, disturbed: Path) -> None:
    context = make_context(parent=disturbed)
    model = load_model(context.parent)
    before = matching(context).dev_scores()["feature_agreement"]
    history = Tuner(context, model, TRAINING).run()
    assert max(entry["dev_feature_agreement"] for entry in history) > before + 0.2 * (1 - before)
    for weight, kept in zip(model.decoder.weights, loaded(context.parent).decoder.weights, strict=True):
        np.testing.assert_array_equal(weight, kept)


def test_where_what_the_decoder_knows_does_not_fit_the_parent_teaches(
    make_context: MakeContext, disturbed: Path, of_64_pixels: Bundle
) -> None:
    context = replace(make_context(parent=disturbed), known=of_64_pixels)
    assert matching(context).dev_scores()["feature_agreement"] > 0.9999


def test_the_decoder_says_what_is_taught_and_not_the_chains_beginning(
    make_context: MakeContext, disturbed: Path
) -> None:
    context = make_context(parent=disturbed)
    learnt = replace(context, known=context.parent)
    assert (
        matching(learnt).dev_scores()["feature_agreement"]
        > 0.9999
        > matching(context).dev_scores()["feature_agreement"]
    )


@pytest.fixture(scope="module")
def side_of_two() -> tf_keras.Model:
    """An encoder whose grid is 2 x 2."""
    return build_encoder(EncoderConfig("mobilenet_v2", width=0.35, image_size=(64, 64)))


@pytest.mark.slow
def test_a_teacher_of_larger_images_is_averaged_over_the_students_cells(side_of_two: tf_keras.Model) -> None:
    teacher = build_encoder(EncoderConfig("mobilenet_v2", width=0.35, image_size=(128, 96)))
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 128, 96, 3)).astype(np.float32)
    grid = teacher.predict_on_batch(pixels).reshape(2, 4, 3, -1)
    rows = grid[:, ::2] + grid[:, 1::2]
    cells = np.stack((rows[:, :, 0] + rows[:, :, 1] / 2, rows[:, :, 1] / 2 + rows[:, :, 2]), axis=2) / 3
    resampled = on_grid_of(side_of_two, teacher)
    assert resampled is not None
    np.testing.assert_allclose(resampled.predict_on_batch(pixels), cells.reshape(2, 4, -1), rtol=1e-4, atol=1e-14)


@given(found=st.integers(1, 40), wanted=st.integers(1, 40))
def test_cells_share_out_a_side_evenly(found: int, wanted: int) -> None:
    shares = overlaps(found, wanted)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(shares.sum(axis=0), wanted / found, rtol=1e-5)


def test_a_smaller_grid_and_other_channels_teach_nothing(side_of_two: tf_keras.Model) -> None:
    wider = build_encoder(EncoderConfig("mobilenet_v2", width=1.4, image_size=(128, 128)))
    lower = build_encoder(EncoderConfig("mobilenet_v2", width=0.35, image_size=(128, 32)))
    assert on_grid_of(side_of_two, wider) is None
    assert on_grid_of(side_of_two, lower) is None


@pytest.mark.slow
def test_an_encoder_of_smaller_images_learns_what_the_decoder_knows(
    make_context: MakeContext, disturbed: Path, of_64_pixels: Bundle
) -> None:
    context, model = make_context(parent=disturbed), load_model(of_64_pixels)
    lower, upper = split_encoder(model.encoder, BLOCK)
    data = load_training_data(context, TRAINING)
    dev = cached_features(lower, data.dev, context.cache, views=1, log=context.log)
    before = FeatureMatching(context, model.encoder, upper, data, dev, views=1).dev_scores()["feature_agreement"]
    history = Tuner(context, model, TRAINING).run()
    assert before < 0 < max(entry["dev_feature_agreement"] for entry in history)


def test_without_a_teacher_of_the_features_shape_nothing_begins(
    make_context: MakeContext, of_64_pixels: Bundle
) -> None:
    context = make_context()
    encoder, data = loaded(context.parent).encoder, load_training_data(context, TRAINING)
    _, upper = split_encoder(encoder, BLOCK)
    small, dev = replace(context, parent=of_64_pixels, known=of_64_pixels), np.zeros((1, 12, 7, 7, 320), np.float16)
    with pytest.raises(UsageError, match=r"gives 49 x 1280 features, what teaches it 4 x 1280$"):
        FeatureMatching(small, encoder, upper, data, FeatureCache(dev), views=1)

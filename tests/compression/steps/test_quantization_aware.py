from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from caption_core.models.weights import Weights, bundle_weights
from caption_core.runtimes.tensorflow import load_model
from compression.calibration import draw_images, encode_images
from compression.context import StepContext, trained_ranges, write_float_child
from compression.encoder_quantization import (
    calibrate,
    export_quantized,
    export_trained_quantization,
    quantized_copy,
    trained_copy,
)
from compression.settings.fine_tuning import FineTune
from compression.settings.quantization import QuantizationAware
from compression.settings.training import Training
from compression.steps.fine_tune import apply as fine_tune
from compression.steps.quantization_aware import apply
from compression.variants import RECORD
from tests.compression.builders import bundle_with_slim_encoder
from tests.compression.conftest import MakeContext

_TRAINING = Training(learning_rate=1e-3, warmup_steps=0, views=1)


@pytest.fixture
def context(make_context: MakeContext, tiny_bundle: Path, tmp_path: Path) -> StepContext:
    parent = open_bundle(bundle_with_slim_encoder(tiny_bundle, tmp_path / "parent"))
    return replace(make_context(), parent=parent, teacher=parent, known=parent, cache=tmp_path / "cache")


def _images(context: StepContext) -> NDArray[np.uint8]:
    """What is trained on, uint8 [12, 32, 32, 3]."""
    assert context.images is not None
    files = [context.images / name for name in context.train_names]
    return np.stack(draw_images(files, len(files), 1, (32, 32)))


def _error(graph: bytes, context: StepContext) -> float:
    """Relative error of a graph's features from the parent's."""
    images = _images(context)
    wanted = load_model(context.parent).encoder.predict_on_batch(images.astype(np.float32))
    found = encode_images(graph, images)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize(("objective", "rate"), [("features", 1e-4), ("references", 1e-5)])
def test_the_learning_rate_follows_from_what_the_encoder_learns(objective: str, rate: float) -> None:
    training = {"objective": objective, "encoder_from": "pixels", "images": 9}
    step = QuantizationAware.model_validate({"part": "encoder", "training": training})
    assert (step.training.learning_rate, step.training.epochs, step.training.images) == (rate, 1, 9)
    chosen = QuantizationAware.model_validate({"part": "encoder", "training": {**training, "learning_rate": 0.5}})
    assert chosen.training.learning_rate == 0.5


@pytest.mark.slow
def test_training_on_the_features_brings_the_graph_nearer_to_them(context: StepContext) -> None:
    encoder = load_model(context.parent).encoder
    untrained = quantized_copy(encoder)
    calibrate(untrained, encoder, [_images(context)])
    training = _TRAINING.model_copy(update={"objective": "features", "encoder_from": "block_16", "epochs": 5})
    child = apply(QuantizationAware(part="encoder", training=training), context)

    graph = export_trained_quantization(child)
    assert graph is not None
    assert _error(graph, context) < 0.9 * _error(export_quantized(untrained), context)
    record = json.loads((context.folder / RECORD).read_text())
    assert {path.name for path in context.folder.iterdir()} == {"bundle", RECORD}
    assert len(record["history"]) == 5
    assert record["schemes"] == {"QAT": 35}
    parent, weights = bundle_weights(context.parent), bundle_weights(child)
    assert (parent["encoder/block_1_expand/kernel"] == weights["encoder/block_1_expand/kernel"]).all()
    assert (parent["encoder/Conv_1/kernel"] != weights["encoder/Conv_1/kernel"]).any()
    assert all((parent[name] == weights[name]).all() for name in parent if name.startswith("decoder/"))


@pytest.mark.slow
def test_training_on_captions_moves_both_parts_and_ranges_stay_in_use(context: StepContext) -> None:
    training = _TRAINING.model_copy(update={"encoder_from": "pixels", "epochs": 8, "learning_rate": 0.005})
    child = apply(QuantizationAware(part="encoder", training=training), context)
    parent, weights = bundle_weights(context.parent), bundle_weights(child)
    for name in ("encoder/Conv1/kernel", "encoder/bn_Conv1/gamma", "decoder/embedding"):
        assert (parent[name] != weights[name]).any()

    after = replace(context, parent=child, folder=context.folder / "next", cache=context.folder / "cache")
    ranges = trained_ranges(child, "encoder")
    assert ranges
    assert ranges.keys() <= bundle_weights(fine_tune(FineTune(training=_TRAINING), after)).keys()
    assert not ranges.keys() & _written(after, Training(encoder_from="block_16")).keys()

    encoder, images = load_model(child).encoder, _in_order(context)
    (seen,) = (views[0] for views in map(np.load, after.cache.glob("*.npy")) if views.shape[1] == len(images))
    np.testing.assert_allclose(seen, trained_copy(encoder, ranges).predict_on_batch(images), rtol=1e-3, atol=1e-3)
    assert np.abs(seen - encoder.predict_on_batch(images)).max() > 0.1


def _in_order(context: StepContext) -> NDArray[np.float32]:
    """Images as `_images` has them, in the order of the split."""
    assert context.images is not None
    files = [context.images / name for name in context.train_names]
    return np.stack([draw_images([file], 1, 1, (32, 32))[0] for file in files]).astype(np.float32)


def _written(context: StepContext, training: Training) -> Weights:
    """What a step that trains writes."""
    return bundle_weights(
        write_float_child(context, FineTune(training=training), load_model(context.parent), did="nothing")
    )


@pytest.mark.slow
def test_an_encoder_without_trained_ranges_has_no_graph(context: StepContext) -> None:
    assert export_trained_quantization(context.parent) is None


@pytest.mark.slow
def test_the_encoder_has_to_be_told_where_to_train_from(context: StepContext) -> None:
    with pytest.raises(UsageError, match=r"say training\.encoder_from"):
        apply(QuantizationAware(part="encoder"), context)

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras

from caption_core.bundle import Bundle, open_bundle, write_bundle
from caption_core.errors import BundleError
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.weights import WEIGHTS, load_weights, named_weights, save_weights
from caption_core.runtimes.tensorflow import TensorFlowRuntime, load_model


def rewritten(
    parent: Path, folder: Path, decoder: str, settings: dict[str, Any], weights: Path | None = None
) -> Bundle:
    """A float bundle that names another decoder."""
    bundle = open_bundle(parent)
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["architecture"] |= {"decoder": decoder, "decoder_config": settings}
    files: dict[str, Path | bytes] = {name: bundle.path(name) for name in bundle.manifest.files}
    return write_bundle(folder, fields, {**files, WEIGHTS: weights or bundle.path(WEIGHTS)})


def test_a_bundle_names_its_decoder(tiny_bundle: Path, tmp_path: Path) -> None:
    config = decoder_config("merge", {"vocabulary_size": 14, "feature_channels": 1280, "units": 8})
    decoder = build_decoder("merge", config)
    weights = load_weights(open_bundle(tiny_bundle).path(WEIGHTS))
    encoder = {name: array for name, array in weights.items() if name.startswith("encoder/")}
    save_weights(encoder | named_weights("decoder", decoder), tmp_path / "w")
    bundle = rewritten(tiny_bundle, tmp_path / "bundle", "merge", asdict(config), tmp_path / "w")
    runtime = TensorFlowRuntime(bundle, threads=1)
    features = runtime.encode(np.zeros((1, 224, 224, 3), np.uint8))
    state, step = runtime.start(features)
    logits, _ = step(np.array([[5]], np.int32), state)
    np.testing.assert_allclose(logits, decoder(features, np.array([[[5]]], np.int32))[:, :, 0], atol=1e-5)


def test_features_are_the_models_whatever_the_batch(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    runtime = TensorFlowRuntime(bundle, threads=1)
    images = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), np.uint8)
    wanted = load_model(bundle).encoder(images.astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(runtime.encode(images), wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(runtime.encode(images[:1]), wanted[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("decoder", "settings", "message"),
    [
        ("soft_attention", {"units": 8}, "decoder soft_attention: .*vocabulary_size"),
        ("merge", {"vocabulary_size": 14, "feature_channels": 1280, "merge": "multiply"}, "add or concat"),
        ("up_down", {"vocabulary_size": 14, "feature_channels": 1280, "cell": "gru"}, "decoder up_down: .*cell"),
    ],
)
def test_settings_that_make_no_decoder_are_named(
    tiny_bundle: Path, tmp_path: Path, decoder: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        load_model(rewritten(tiny_bundle, tmp_path / "bundle", decoder, settings))


def test_another_decoders_weights_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    settings = {"vocabulary_size": 14, "feature_channels": 1280}
    with pytest.raises(BundleError, match="weights: decoder/"):
        load_model(rewritten(tiny_bundle, tmp_path / "bundle", "up_down", settings))


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "within"), [("bfloat16", 0.15), ("float16", 0.02)])
def test_fewer_bits_give_nearly_the_same(tiny_bundle: Path, precision: str, within: float) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 224, 224, 3), np.uint8)
    exact, coarse = (
        TensorFlowRuntime(open_bundle(tiny_bundle), threads=1, precision=p) for p in ("float32", precision)
    )
    features, expected = coarse.encode(images), exact.encode(images)
    assert features.dtype == np.float32
    # An untrained encoder makes much of small differences.
    assert 1 > np.corrcoef(features.ravel(), expected.ravel())[0, 1] > 1 - 2 * within

    (state, step), (exact_state, exact_step) = coarse.start(expected), exact.start(expected)
    logits, _ = step(np.full((4, 1), 5, np.int32), state)
    exact_logits, _ = exact_step(np.full((4, 1), 5, np.int32), exact_state)
    assert logits.dtype == np.float32
    assert 0 < np.abs(logits - exact_logits).max() < within * np.abs(exact_logits).max()
    assert tf_keras.mixed_precision.global_policy().name == "float32"


def test_the_step_of_some_images_gives_their_logits(tiny_bundle: Path) -> None:
    runtime = TensorFlowRuntime(open_bundle(tiny_bundle), threads=1)
    features = np.abs(np.random.default_rng(0).normal(size=(5, 49, 1280))).astype(np.float32)
    tokens = np.full((5, 1), 5, np.int32)
    state, step = runtime.start(features)
    every, _ = step(tokens, state)
    for images in (np.array([0, 2, 4]), np.array([3])):
        some, _ = step.of(images)(tokens[images], tuple(part[images] for part in state))
        np.testing.assert_allclose(some, every[images], atol=1e-5)
    assert not np.allclose(every[0], every[1], atol=1e-3)

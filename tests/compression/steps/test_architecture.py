"""New encoders and decoders that begin with what fits of the old ones' weights."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.weights import WEIGHTS, Weights, load_weights
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext
from compression.settings.architecture import Architecture
from compression.settings.training import Training
from compression.steps.architecture import apply
from compression.variants import RECORD
from tests.bundle_builders import SyntheticSet, write_encoder_weights
from tests.compression.conftest import MakeContext


def weights(bundle: Bundle, part: str) -> Weights:
    found = load_weights(bundle.path(WEIGHTS))
    return {name: array for name, array in found.items() if name.startswith(f"{part}/")}


def record(context: StepContext) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((context.folder / RECORD).read_text())
    return found


def assert_equal(ours: Weights, theirs: Weights) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


@pytest.mark.slow
def test_another_image_size_keeps_all_weights(make_context: MakeContext) -> None:
    context = make_context()
    bundle = apply(Architecture(image_size=96), context)
    preprocessing = bundle.manifest.preprocessing
    assert (preprocessing.height, preprocessing.width) == (96, 96)
    for part in ("encoder", "decoder"):
        assert_equal(weights(bundle, part), weights(context.parent, part))
    assert "architecture: images 224 x 224 to 96 x 96" in bundle.manifest.provenance.steps
    features = load_model(bundle).encoder(np.zeros((1, 96, 96, 3), np.float32))
    assert features.shape == (1, 9, 1280)


@pytest.mark.slow
def test_a_narrower_decoder_keeps_what_fits_and_trains(make_context: MakeContext) -> None:
    context = make_context()
    step = Architecture(decoder_settings={"units": 24}, training=Training(epochs=2, learning_rate=1e-5))
    bundle = apply(step, context)
    assert bundle.manifest.architecture.decoder_config["units"] == 24
    assert_equal(weights(bundle, "encoder"), weights(context.parent, "encoder"))
    ours, theirs = weights(bundle, "decoder"), weights(context.parent, "decoder")
    fitting = {name for name, array in ours.items() if array.shape == theirs[name].shape}
    assert {"decoder/embedding", "decoder/key_projection/kernel", "decoder/output_bias"} < fitting
    assert "decoder/gates_from_h/kernel" not in fitting
    for name in fitting:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-3, err_msg=name)
    found = record(context)
    assert found["weights_taken_over"]["decoder"] == {"taken_over": len(fitting), "of": len(ours)}
    assert len(found["history"]) == 2


@pytest.mark.slow
def test_another_kind_of_decoder_keeps_words_only_and_is_seeded(make_context: MakeContext) -> None:
    settings = {"units": 32, "embedding_units": 16, "value_units": 32, "attention_units": 16}
    step = Architecture(decoder="up_down", decoder_settings=settings)
    contexts = [make_context(name=name) for name in ("one", "two")]
    one, two = (weights(apply(step, context), "decoder") for context in contexts)
    assert_equal(one, two)
    theirs = weights(contexts[0].parent, "decoder")
    same = {name for name, array in one.items() if name in theirs and np.array_equal(array, theirs[name])}
    # Biases begin with the same zeros and ones; of what was learned, words stay.
    assert {name for name in same if one[name].ndim == 2} == {"decoder/embedding"}
    assert "decoder/output_bias" in same


@pytest.mark.slow
def test_another_encoder_begins_anew_or_with_a_file(make_context: MakeContext, synthetic_set: SyntheticSet) -> None:
    context = make_context()
    bundle = apply(Architecture(encoder="mobilenet_v3_small", image_size=64), context)
    assert bundle.manifest.architecture.encoder == "mobilenet_v3_small"
    assert bundle.manifest.provenance.encoder_weights == "random"
    assert load_model(bundle).decoder.config.feature_channels == 576
    file = write_encoder_weights(synthetic_set)
    again = apply(Architecture(encoder_weights=str(file)), make_context(name="file"))
    assert again.manifest.provenance.encoder_weights == file.name
    assert_equal(weights(again, "encoder"), weights(context.parent, "encoder"))  # trained on that file, frozen


def test_what_can_not_be_built_is_refused_before_any_work(make_context: MakeContext) -> None:
    context = make_context()
    with pytest.raises(UsageError, match="unknown encoder"):
        apply(Architecture(encoder="vgg99"), context)
    assert not context.folder.exists()

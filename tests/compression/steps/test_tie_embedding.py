"""A merge decoder whose output becomes its embedding."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.weights import assign_weights, named_weights
from compression.settings.architecture import TieEmbedding
from compression.settings.training import Training
from compression.steps.tie_embedding import apply, tied
from compression.variants import RECORD
from tests.compression.builders import bundle_with_decoder, decoder_of
from tests.compression.conftest import MakeContext
from tests.models.decoder_contract import CHANNELS, VOCABULARY, tiny_decoder

HIDDEN = np.random.default_rng(3).normal(size=(2, 3, 8)).astype(np.float32)


def rebuilt(decoder: Decoder) -> Decoder:
    units = decoder.config.embedding_units
    sizes = {"units": 8, "embedding_units": units, "vocabulary_size": VOCABULARY, "feature_channels": CHANNELS}
    child = build_decoder("merge", decoder_config("merge", {**sizes, "output": "tied"}))
    assign_weights("decoder", child, tied(named_weights("decoder", decoder)))
    return child


def test_vectors_of_one_size_say_what_the_dense_layer_said() -> None:
    decoder = tiny_decoder("merge", embedding_units=8)
    child = rebuilt(decoder)
    assert child.output_projection is None
    np.testing.assert_allclose(child.project(HIDDEN), decoder.project(HIDDEN), atol=1e-5)


def test_and_are_read_as_nearly_as_the_old_ones_as_can_be() -> None:
    """What is left of the gates lies across everything that the new vectors could add to them."""
    decoder = tiny_decoder("merge", embedding_units=8)
    child = rebuilt(decoder)
    left = decoder.read_words(decoder.embedding) - child.read_words(child.embedding)
    np.testing.assert_allclose(child.embedding.numpy().T @ left.numpy(), 0.0, atol=1e-3)
    assert np.abs(left).max() > 0.1  # 13 words can't all be met by 8 units


def test_a_projection_meets_a_dense_layer_that_the_embedding_spans() -> None:
    decoder = tiny_decoder("merge")
    projection = np.random.default_rng(4).normal(size=(8, 5)).astype(np.float32)
    decoder.output_layer.kernel.assign(projection @ decoder.embedding.numpy().T)
    child = rebuilt(decoder)
    np.testing.assert_array_equal(child.embedding, decoder.embedding)
    np.testing.assert_allclose(child.project(HIDDEN), decoder.project(HIDDEN), atol=1e-4)


@pytest.mark.slow
def test_a_step_ties_and_trains(make_context: MakeContext, tiny_bundle: Path, tmp_path: Path) -> None:
    parent = bundle_with_decoder(tiny_bundle, tmp_path / "merge", "merge")
    context = make_context(parent=parent)
    bundle = apply(TieEmbedding(training=Training(epochs=2, learning_rate=0.01)), context)
    assert bundle.manifest.architecture.decoder_config["output"] == "tied"
    child, before = decoder_of(bundle), decoder_of(context.parent)
    assert not any("output_layer" in name for name in named_weights("decoder", child))
    assert not np.allclose(child.gates_from_h.kernel, before.gates_from_h.kernel)
    history = json.loads((context.folder / RECORD).read_text())["history"]
    assert history[1]["loss"] < history[0]["loss"]


def test_what_is_tied_can_not_be_tied(make_context: MakeContext) -> None:
    with pytest.raises(UsageError, match="tied to the embedding already"):
        apply(TieEmbedding(), make_context())

"""Embeddings of fewer units, without a change of what a decoder computes beyond what the rank leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_core.models.architectures import EncoderConfig
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder
from caption_core.models.weights import assign_weights, named_weights
from compression.architecture_change import Design, design_after
from compression.settings.architecture import FactorizeEmbedding
from compression.steps.factorize_embedding import apply, factorized, factors, relative_error
from compression.variants import RECORD
from tests.compression.builders import decoder_of
from tests.compression.conftest import MakeContext
from tests.models.decoder_contract import CHANNELS, VOCABULARY, example, tiny_decoder
from tests.models.test_decoder_contract import VARIANTS


def design_of_tiny(name: str, settings: dict[str, Any]) -> Design:
    sizes = {"units": 8, "embedding_units": 5, **settings}
    return Design(EncoderConfig(), name, sizes, VOCABULARY)


def rebuilt(decoder: Decoder, design: Design, rank: int) -> Decoder:
    smaller = build_decoder(
        design.decoder, design_after(FactorizeEmbedding(rank=rank), design).decoder_config(CHANNELS)
    )
    assign_weights("decoder", smaller, factorized(named_weights("decoder", decoder), design, rank))
    return smaller


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("units", [5, 8])
def test_at_the_embeddings_rank_logits_stay(variant: str, units: int) -> None:
    """Every decoder, also one whose embedding is as wide as its hidden layer."""
    name, settings = VARIANTS[variant]
    settings = {**settings, "embedding_units": units}
    decoder = tiny_decoder(name, **settings)
    factors_of_three = (np.random.default_rng(2).normal(size=shape) for shape in ((VOCABULARY, 3), (3, units)))
    decoder.embedding.assign(np.matmul(*factors_of_three))
    smaller = rebuilt(decoder, design_of_tiny(name, settings), rank=3)
    assert smaller.embedding.shape == (VOCABULARY, 3)
    features, tokens = example(images=2, captions=2, length=4)
    np.testing.assert_allclose(smaller(features, tokens), decoder(features, tokens), atol=2e-4)


def test_below_it_logits_change() -> None:
    decoder = tiny_decoder("soft_attention")
    smaller = rebuilt(decoder, design_of_tiny("soft_attention", {}), rank=3)
    features, tokens = example(images=2, captions=2, length=4)
    assert not np.allclose(smaller(features, tokens), decoder(features, tokens), atol=0.1)


@pytest.mark.parametrize("rank", [1, 4, 6])
def test_the_error_is_what_the_factors_leave_out(rank: int) -> None:
    table = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    words, basis = factors(table, rank)
    assert (words.shape, basis.shape) == ((20, rank), (rank, 6))
    np.testing.assert_allclose(basis @ basis.T, np.eye(rank), atol=1e-5)
    left_out = np.linalg.norm(table - words @ basis) / np.linalg.norm(table)
    assert relative_error(table, rank) == pytest.approx(left_out, abs=1e-5)


def test_a_step_writes_a_smaller_captioner(make_context: MakeContext) -> None:
    context = make_context()
    bundle = apply(FactorizeEmbedding(rank=4), context)
    assert bundle.manifest.architecture.decoder_config["embedding_units"] == 4
    assert "factorize_embedding: rank 4 of 16" in bundle.manifest.provenance.steps
    parent, child = decoder_of(context.parent), decoder_of(bundle)
    assert child.embedding.shape == (parent.embedding.shape[0], 4)
    record = json.loads((context.folder / RECORD).read_text())
    error = relative_error(parent.embedding.numpy(), 4)
    assert (record["relative_error"], record["history"]) == (round(error, 4), [])
    assert Path(bundle.folder) == context.output

"""Captioners of fewer words."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from caption_core.bundle import VOCABULARY
from caption_core.models.decoder_registry import build_decoder
from caption_core.models.weights import assign_weights, named_weights
from caption_core.vocabulary import Vocabulary
from compression.settings.architecture import CutVocabulary
from compression.settings.training import Training
from compression.steps.cut_vocabulary import apply, without_tokens
from compression.variants import RECORD
from tests.compression.builders import decoder_of
from tests.compression.conftest import MakeContext
from tests.models.decoder_contract import example, tiny_decoder
from tests.models.test_decoder_contract import VARIANTS

pytestmark = pytest.mark.usefixtures("teachers_loaded_once")


@pytest.mark.parametrize("variant", VARIANTS)
def test_kept_words_logits_stay(variant: str) -> None:
    name, settings = VARIANTS[variant]
    decoder = tiny_decoder(name, **settings)
    smaller = build_decoder(name, replace(decoder.config, vocabulary_size=9))
    assign_weights("decoder", smaller, without_tokens(named_weights("decoder", decoder), 9))
    features, tokens = example(images=2, captions=2, length=4)
    tokens %= 9
    np.testing.assert_allclose(smaller(features, tokens), decoder(features, tokens)[..., :9], atol=1e-5)


def test_a_step_keeps_the_most_frequent_words(make_context: MakeContext) -> None:
    context = make_context()
    bundle = apply(CutVocabulary(words=6), context)
    words = Vocabulary.load(context.parent.path(VOCABULARY)).words
    assert Vocabulary.load(bundle.path(VOCABULARY)).words == words[:6]
    assert bundle.manifest.architecture.decoder_config["vocabulary_size"] == 10
    np.testing.assert_array_equal(decoder_of(bundle).embedding, decoder_of(context.parent).embedding[:10])
    assert f"cut_vocabulary: 6 of {len(words)} words" in bundle.manifest.provenance.steps


@pytest.mark.slow
def test_it_trains_on_in_the_words_that_are_left(make_context: MakeContext) -> None:
    """Also from a teacher that has all of them."""
    context = make_context()
    training = Training(epochs=2, learning_rate=1e-3, soft_targets=0.5, captions="both", teacher_beam=2)
    bundle = apply(CutVocabulary(words=6, training=training), context)
    history = json.loads((context.folder / RECORD).read_text())["history"]
    assert [entry["epoch"] for entry in history] == [1, 2]
    child, before = decoder_of(bundle).embedding.numpy(), decoder_of(context.parent).embedding.numpy()
    assert child.shape == (10, 16)
    assert 0 < np.abs(child - before[:10]).max() < 0.1

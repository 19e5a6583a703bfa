from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.captioning import DecoderFunctions
from caption_core.models.decoder import Decoder, without_unspoken
from caption_core.models.decoder_registry import DECODERS, build_decoder, decoder_config
from caption_core.search import SearchSettings, search
from caption_core.vocabulary import END, PAD, START, UNKNOWN
from tests.models.decoder_contract import CHANNELS, VOCABULARY, example, tiny_decoder


def test_tokens_that_no_caption_holds_have_no_probability() -> None:
    logits = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 6)), tf.float32)
    kept = tf.nn.softmax(without_unspoken(logits)).numpy()
    assert np.all(kept[..., [PAD, START, UNKNOWN]] == 0)
    np.testing.assert_allclose(
        kept[..., [END, 4, 5]], tf.nn.softmax(tf.gather(logits, [END, 4, 5], axis=-1)), rtol=1e-5
    )


def test_a_draw_ends_once_and_holds_words_alone() -> None:
    features, _ = example(images=3, captions=1, length=1)
    drawn = tiny_decoder("merge").sample(features, 20, 6, tf.constant((1, 2))).numpy()
    assert drawn.shape == (3, 20, 6)
    assert not np.isin(drawn, (START, UNKNOWN)).any()
    ended = np.cumsum(drawn == END, axis=-1) - (drawn == END) > 0
    assert ended.any()
    assert np.array_equal(ended, drawn == PAD)
    assert np.all((drawn == END).sum(axis=-1) <= 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_what_it_is_taught_it_says(name: str) -> None:
    """Four images with a caption each are learned by heart."""
    tf_keras.utils.set_random_seed(1)
    rates = dict.fromkeys(("feature_dropout", "embedding_dropout", "output_dropout"), 0.0)
    sizes = {"vocabulary_size": VOCABULARY, "feature_channels": CHANNELS, "units": 32, "embedding_units": 16}
    decoder = build_decoder(name, decoder_config(name, {**sizes, **rates}))
    features, _ = example(images=4, captions=1, length=1)
    captions = np.random.default_rng(2).integers(4, VOCABULARY, (4, 5)).astype(np.int32)
    teach(decoder, features, captions, updates=150)
    state, step = DecoderFunctions(decoder).start(features.numpy())
    for width in (1, 3):
        found = search(step, state, SearchSettings(beam_width=width, max_tokens=8))
        assert np.array_equal(found.tokens[:, 0, :5], captions)
        assert np.all(found.lengths[:, 0] == 5)


def teach(decoder: Decoder, features: tf.Tensor, captions: NDArray[np.int32], updates: int) -> None:
    whole = tf.constant(np.pad(captions, ((0, 0), (1, 1)), constant_values=((0, 0), (START, END))))
    optimizer = tf_keras.optimizers.Adam(0.01)

    def update() -> None:
        with tf.GradientTape() as tape:
            # Two equal captions an image: with one, TensorFlow 2.21 may abort in the gradient (not with oneDNN off).
            logits = decoder(features, tf.repeat(whole[:, tf.newaxis, :-1], 2, axis=1))[:, 0]
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(whole[:, 1:], logits))
        gradients = tape.gradient(loss, decoder.trainable_variables)
        optimizer.apply_gradients(zip(gradients, decoder.trainable_variables, strict=True))

    compiled = tf.function(update)
    for _ in range(updates):
        compiled()


@pytest.fixture
def bfloat16() -> Iterator[None]:
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    tf_keras.mixed_precision.set_global_policy(before)


@pytest.mark.usefixtures("bfloat16")
@pytest.mark.parametrize("name", DECODERS)
def test_mixed_precision_keeps_weights_and_logits_in_float32(name: str) -> None:
    decoder = tiny_decoder(name)
    features, tokens = example(images=2, captions=2, length=3)
    logits = decoder(features, tokens)
    assert {weight.dtype for weight in decoder.weights} == {tf.float32}
    assert logits.dtype == tf.float32
    assert decoder.sample(features, 2, 3, tf.constant((1, 2))).shape == (2, 2, 3)
    state, step = DecoderFunctions(decoder).start(features.numpy())
    assert {part.dtype for part in state} == {np.dtype(np.float32)}
    first, following = step(tokens[:, :1, 0].numpy(), state)
    assert first.shape == (2, 1, VOCABULARY)
    assert {part.dtype for part in following} == {np.dtype(np.float32)}
    np.testing.assert_allclose(first[:, 0], logits[:, 0, 0], atol=0.2)

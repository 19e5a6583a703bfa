import numpy as np
import pytest
import tensorflow as tf

from caption_core.errors import UsageError
from caption_core.models.soft_attention import SoftAttentionConfig, SoftAttentionDecoder, without_unspoken
from caption_core.vocabulary import END, PAD, START, UNKNOWN

CONFIG = SoftAttentionConfig(
    vocabulary_size=11, feature_channels=6, units=8, embedding_units=5, value_units=7, attention_units=4
)


@pytest.fixture(scope="module")
def decoder() -> SoftAttentionDecoder:
    decoder = SoftAttentionDecoder(CONFIG)
    generator = np.random.default_rng(0)
    for weight in decoder.weights:  # larger than at the start, so that every path matters
        weight.assign(generator.normal(scale=0.5, size=weight.shape))
    return decoder


def example(images: int, captions: int, length: int) -> tuple[tf.Tensor, tf.Tensor]:
    generator = np.random.default_rng(1)
    features = generator.normal(size=(images, 9, CONFIG.feature_channels)).astype(np.float32)
    tokens = generator.integers(0, CONFIG.vocabulary_size, (images, captions, length)).astype(np.int32)
    return tf.constant(features), tf.constant(tokens)


def test_steps_agree_with_the_training_graph(decoder: SoftAttentionDecoder) -> None:
    features, tokens = example(images=3, captions=2, length=5)
    unrolled = decoder(features, tokens)
    state, memory = decoder.start(features)
    state = tuple(tf.repeat(part, 2, axis=1) for part in state)
    for position in range(5):
        logits, state = decoder.step(tokens[:, :, position], state, memory)
        np.testing.assert_allclose(logits, unrolled[:, :, position], atol=1e-5)


def test_captions_of_an_image_do_not_mix(decoder: SoftAttentionDecoder) -> None:
    features, tokens = example(images=2, captions=3, length=4)
    together = decoder(features, tokens)
    for caption in range(3):
        alone = decoder(features, tokens[:, caption : caption + 1])
        np.testing.assert_allclose(alone[:, 0], together[:, caption], atol=1e-5)


def test_dropout_follows_its_seed(decoder: SoftAttentionDecoder) -> None:
    features, tokens = example(images=2, captions=2, length=4)
    one = decoder(features, tokens, tf.constant((1, 0)))
    again = decoder(features, tokens, tf.constant((1, 0)))
    other = decoder(features, tokens, tf.constant((1, 16)))
    assert np.array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, decoder(features, tokens))


def test_the_recurrent_gates_start_orthogonal_and_different() -> None:
    kernel = SoftAttentionDecoder(CONFIG).gates_from_h.kernel.numpy()
    gates = np.split(kernel, 4, axis=1)
    for gate in gates:
        np.testing.assert_allclose(gate @ gate.T, np.eye(CONFIG.units), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])


@pytest.mark.parametrize("wrong", [{"units": 0}, {"output_dropout": 1.0}, {"vocabulary_size": 0}])
def test_impossible_sizes_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SoftAttentionConfig(**{"vocabulary_size": 5, "feature_channels": 5, **wrong})


def test_tokens_that_no_caption_holds_have_no_probability() -> None:
    logits = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 6)), tf.float32)
    kept = tf.nn.softmax(without_unspoken(logits)).numpy()
    assert np.all(kept[..., [PAD, START, UNKNOWN]] == 0)
    np.testing.assert_allclose(
        kept[..., [END, 4, 5]], tf.nn.softmax(tf.gather(logits, [END, 4, 5], axis=-1)), rtol=1e-5
    )

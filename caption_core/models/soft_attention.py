"""Soft-attention LSTM decoder: Xu et al. 2015, "Show, Attend and Tell" (arXiv 1502.03044).

Differences from the paper, all for size and speed: grid features are projected once an image before attention, and
the output layer is tied to the word embedding (Press and Wolf 2017, arXiv 1608.05859).

Shapes: B images, K captions (beams, or reference captions while training) an image, L grid locations, V tokens.
An image's captions share its memory, so nothing of an image is repeated for a beam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from caption_core.errors import UsageError
from caption_core.vocabulary import END, PAD, START, UNKNOWN

State = tuple[tf.Tensor, tf.Tensor]
"""(h, c), each float32 [B, K, units]."""

Memory = tuple[tf.Tensor, tf.Tensor]
"""(keys [B, L, attention_units], values [B, L, value_units]), fixed for an image."""


_Loop = tuple[tf.Tensor, ...]


@dataclass(frozen=True, slots=True)
class SoftAttentionConfig:
    """Sizes of the decoder, in units; dropout rates apply while training only."""

    vocabulary_size: int
    feature_channels: int
    units: int = 512
    embedding_units: int = 256
    value_units: int = 512
    attention_units: int = 256
    feature_dropout: float = 0.3
    embedding_dropout: float = 0.3
    output_dropout: float = 0.5

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "feature_channels", "units", "embedding_units", "value_units"):
            if getattr(self, name) < 1:
                raise UsageError(f"decoder: {name} must be at least 1, not {getattr(self, name)}")
        for name in ("feature_dropout", "embedding_dropout", "output_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise UsageError(f"decoder: {name} must lie in [0, 1), not {getattr(self, name)}")


class SoftAttentionDecoder(tf_keras.Model):
    """`start` an image, then `step` its captions word by word; `call` unrolls given captions for training.

    State contract: `start` returns one state row an image ([B, 1, units]); repeat it along axis 1 to hold K captions.
    `step` takes and returns [B, K, ...] and never mixes rows, so a search may reorder or drop captions freely.
    """

    def __init__(self, config: SoftAttentionConfig) -> None:
        super().__init__(name="decoder")
        self.config = config
        dense = tf_keras.layers.Dense
        gates = 4 * config.units
        self.feature_projection = dense(config.value_units, activation="relu", name="feature_projection")
        self.key_projection = dense(config.attention_units, name="key_projection")
        self.initial_h = dense(config.units, activation="tanh", name="initial_h")
        self.initial_c = dense(config.units, activation="tanh", name="initial_c")
        self.embedding = self.add_weight(
            "embedding",
            (config.vocabulary_size, config.embedding_units),
            initializer=tf_keras.initializers.RandomUniform(-0.1, 0.1),
        )
        self.query = dense(config.attention_units, use_bias=False, name="query")
        self.energy = dense(1, use_bias=False, name="energy")
        self.selector = dense(1, activation="sigmoid", name="selector")
        self.gates_from_word = dense(gates, bias_initializer=_forget_bias(config.units), name="gates_from_word")
        self.gates_from_context = dense(gates, use_bias=False, name="gates_from_context")
        self.gates_from_h = dense(
            gates, use_bias=False, kernel_initializer=_OrthogonalGates(config.units), name="gates_from_h"
        )
        self.output_projection = dense(config.embedding_units, name="output_projection")
        self.output_bias = self.add_weight("output_bias", (config.vocabulary_size,), initializer="zeros")
        self._build_layers()

    def _build_layers(self) -> None:
        config = self.config
        self.feature_projection.build((None, config.feature_channels))
        for layer in (self.key_projection, self.initial_h, self.initial_c, self.gates_from_context):
            layer.build((None, config.value_units))
        for layer in (self.query, self.selector, self.gates_from_h):
            layer.build((None, config.units))
        self.energy.build((None, config.attention_units))
        self.gates_from_word.build((None, config.embedding_units))
        self.output_projection.build((None, config.units + config.value_units))
        self.built = True

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """Features float32 [B, L, channels] to the first state [B, 1, units] and the image's memory."""
        features = _dropout(features, self.config.feature_dropout, dropout_seed, 0)
        values = self.feature_projection(features)
        mean = tf.reduce_mean(values, axis=1, keepdims=True)  # [B, 1, value_units]
        state = (self.initial_h(mean), self.initial_c(mean))
        return state, (self.key_projection(values), values)

    def step(self, tokens: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """Previous tokens int32 [B, K] and the state to logits float32 [B, K, V] and the next state."""
        return self.step_from_embedding(tf.gather(self.embedding, tokens), state, memory)

    def step_from_embedding(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """`step` from embedded words float32 [B, K, embedding_units], for graphs that store the embedding otherwise."""
        h, c, context = self._advance(self.gates_from_word(words), state, memory)
        return self._project(tf.concat((h, context), -1)), (h, c)

    def call(self, features: tf.Tensor, tokens: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tf.Tensor:
        """Teacher forcing: inputs int32 [B, K, T] (start token first) to logits float32 [B, K, T, V].

        Args:
            features: float32 [B, L, channels].
            tokens: the captions to predict, start token first, end token left out.
            dropout_seed: int32 [2], decides the dropout masks (an equal seed drops the same); None drops nothing.
        """
        (h, c), memory = self.start(features, dropout_seed)
        captions, length = tf.shape(tokens)[1], tf.shape(tokens)[2]
        h, c = tf.repeat(h, captions, axis=1), tf.repeat(c, captions, axis=1)
        embedded = _dropout(tf.gather(self.embedding, tokens), self.config.embedding_dropout, dropout_seed, 1)
        words = tf.transpose(self.gates_from_word(embedded), (2, 0, 1, 3))  # [T, B, K, 4 units]
        outputs = tf.TensorArray(words.dtype, size=length)

        def body(t: tf.Tensor, h: tf.Tensor, c: tf.Tensor, outputs: tf.TensorArray) -> tuple[tf.Tensor, ...]:
            h, c, context = self._advance(words[t], (h, c), memory)
            return t + 1, h, c, outputs.write(t, tf.concat((h, context), -1))

        _, _, _, outputs = tf.while_loop(lambda t, *_: t < length, body, (0, h, c, outputs), maximum_iterations=length)
        hidden = tf.transpose(outputs.stack(), (1, 2, 0, 3))  # [B, K, T, units + value_units]
        return self._project(_dropout(hidden, self.config.output_dropout, dropout_seed, 2))

    def sample(self, features: tf.Tensor, captions: int, max_tokens: int, seed: tf.Tensor) -> tf.Tensor:
        """Draw captions from the model's own distribution.

        Args:
            features: float32 [B, L, channels].
            captions: K, how many to draw for an image.
            max_tokens: words of the longest.
            seed: int32 [2]; an equal seed draws the same.

        Returns:
            int32 [B, K, max_tokens]: words, the end token, padding. A caption that has not ended by then has no end
            token: one that the model did not draw must not be learned from.
        """
        (h, c), memory = self.start(features)
        h, c = tf.repeat(h, captions, axis=1), tf.repeat(c, captions, axis=1)
        shape = tf.shape(h)[:2]
        drawn = tf.TensorArray(tf.int32, size=max_tokens)

        def body(t: tf.Tensor, previous: tf.Tensor, h: tf.Tensor, c: tf.Tensor, drawn: tf.TensorArray) -> _Loop:
            logits, (h, c) = self.step(previous, (h, c), memory)
            flat = tf.reshape(without_unspoken(logits), (-1, self.config.vocabulary_size))
            words = tf.random.stateless_categorical(flat, 1, seed + tf.stack((0, t)), tf.int32)
            words = tf.where((previous == END) | (previous == PAD), PAD, tf.reshape(words, shape))
            return t + 1, words, h, c, drawn.write(t, words)

        start = tf.fill(shape, START)
        loop = tf.while_loop(lambda t, *_: t < max_tokens, body, (0, start, h, c, drawn))
        return tf.transpose(loop[-1].stack(), (1, 2, 0))

    def _advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One LSTM step from precomputed word gates [B, K, 4 units]: (h, c, context [B, K, value_units])."""
        h, c = state
        context = self._attend(h, memory) * self.selector(h)
        gates = words + self.gates_from_context(context) + self.gates_from_h(h)
        write, forget, cell, read = tf.split(gates, 4, axis=-1)
        c = tf.sigmoid(forget) * c + tf.sigmoid(write) * tf.tanh(cell)
        return tf.sigmoid(read) * tf.tanh(c), c, context

    def _attend(self, h: tf.Tensor, memory: Memory) -> tf.Tensor:
        keys, values = memory
        hidden = tf.tanh(keys[:, tf.newaxis] + self.query(h)[:, :, tf.newaxis])  # [B, K, L, attention_units]
        weights = tf.nn.softmax(tf.squeeze(self.energy(hidden), -1))  # [B, K, L]
        return tf.matmul(weights, values)

    def _project(self, hidden: tf.Tensor) -> tf.Tensor:
        projected = self.output_projection(hidden)  # [..., embedding_units]
        return tf.matmul(projected, self.embedding, transpose_b=True) + self.output_bias


def without_unspoken(logits: tf.Tensor) -> tf.Tensor:
    """Logits [..., V] with those of the tokens that no caption holds (padding, start, unknown) out of the race."""
    unspoken = tf.one_hot((PAD, START, UNKNOWN), tf.shape(logits)[-1], on_value=True, off_value=False, dtype=tf.bool)
    return tf.where(tf.reduce_any(unspoken, axis=0), -1e9, logits)


def _dropout(values: tf.Tensor, rate: float, seed: tf.Tensor | None, place: int) -> tf.Tensor:
    """Stateless dropout: the masks depend on the seed and the place in the model alone, so a run can be repeated."""
    if seed is None or rate == 0.0:
        return values
    return tf.nn.experimental.stateless_dropout(values, rate, seed=seed + tf.constant((0, place)))


def _forget_bias(units: int) -> tf_keras.initializers.Initializer:
    """Gate biases of zero but for the forget gate's one (Jozefowicz et al. 2015)."""
    bias = np.zeros(4 * units, np.float32)
    bias[units : 2 * units] = 1.0
    return tf_keras.initializers.Constant(bias)


class _OrthogonalGates(tf_keras.initializers.Initializer):
    """One orthogonal recurrent matrix a gate, side by side."""

    def __init__(self, units: int) -> None:
        self.units = units

    def __call__(self, shape: tf.TensorShape, dtype: tf.DType | None = None, **_: object) -> tf.Tensor:
        # A fresh initializer a gate: one that is called again returns the same matrix.
        size = (self.units, self.units)
        gates = [tf_keras.initializers.Orthogonal()(size, dtype or tf.float32) for _ in range(shape[1] // self.units)]
        return tf.concat(gates, axis=1)

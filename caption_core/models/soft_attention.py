"""Soft-attention decoder: Xu et al. 2015, "Show, Attend and Tell" (arXiv 1502.03044), with an LSTM or a GRU.

Of several heads (as in the captioners of arXiv 1908.10797) each has its own distribution over the grid, and its own
share of the values.

Differences from the paper, all for size and speed: grid features are projected once an image before attention, and
the output layer is tied to the word embedding (Press and Wolf 2017, arXiv 1608.05859).

Shapes as in `decoder.py`: B images, K captions an image, L grid locations.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from caption_core.models.decoder import (
    Decoder,
    Memory,
    Shapes,
    State,
    additive_attention,
    dropout,
    energies,
    merge_heads,
    split_heads,
    tied_logits,
)
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.recurrent import OrthogonalGates, forget_bias, gru, lstm


class SoftAttentionDecoder(Decoder):
    """Attention from the state before, then the recurrent cell over word and context (see `Decoder`).

    Args:
        config: its sizes, cell and heads.
    """

    config: SoftAttentionConfig

    def __init__(self, config: SoftAttentionConfig) -> None:
        super().__init__(config)
        dense = tf_keras.layers.Dense
        has_lstm = config.cell == "lstm"
        gates = (4 if has_lstm else 3) * config.units
        bias = forget_bias(config.units) if has_lstm else "zeros"
        self.feature_projection = dense(config.value_units, activation="relu", name="feature_projection")
        self.key_projection = dense(config.attention_units, name="key_projection")
        self.initial_h = dense(config.units, activation="tanh", name="initial_h")
        self.initial_c = dense(config.units, activation="tanh", name="initial_c") if has_lstm else None
        self.query = dense(config.attention_units, use_bias=False, name="query")
        self.energy = dense(config.heads, use_bias=False, name="energy")
        self.selector = dense(1, activation="sigmoid", name="selector")
        self.gates_from_word = dense(gates, bias_initializer=bias, name="gates_from_word")
        self.gates_from_context = dense(gates, use_bias=False, name="gates_from_context")
        self.gates_from_h = dense(
            gates, use_bias=False, kernel_initializer=OrthogonalGates(config.units), name="gates_from_h"
        )
        self.output_projection = dense(config.embedding_units, name="output_projection")
        self.output_bias = self.add_weight("output_bias", (config.vocabulary_size,), initializer="zeros")
        self._build_layers()

    def _build_layers(self) -> None:
        config = self.config
        self.feature_projection.build((None, config.feature_channels))
        for layer in filter(None, (self.key_projection, self.initial_h, self.initial_c, self.gates_from_context)):
            layer.build((None, config.value_units))
        for layer in (self.query, self.selector, self.gates_from_h):
            layer.build((None, config.units))
        self.energy.build((None, config.attention_units))
        self.gates_from_word.build((None, config.embedding_units))
        self.output_projection.build((None, config.units + config.value_units))
        self.built = True

    @property
    def state_shapes(self) -> Shapes:
        """`h`, and `c` of an LSTM."""
        names = ("h", "c") if self.config.cell == "lstm" else ("h",)
        return dict.fromkeys(names, (None, None, self.config.units))

    @property
    def memory_shapes(self) -> Shapes:
        """The grid as `keys` and `values`; of several heads, every one's share of the values."""
        heads, units = self.config.heads, self.config.value_units
        values = (None, None, units) if heads == 1 else (None, heads, None, units // heads)
        return {"keys": (None, None, self.config.attention_units), "values": values}

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """See `Decoder.start`."""
        features = dropout(features, self.config.feature_dropout, dropout_seed, 0)
        values = self.feature_projection(features)
        mean = tf.reduce_mean(values, axis=1, keepdims=True)  # [B, 1, value_units]
        state = tuple(layer(mean) for layer in (self.initial_h, self.initial_c) if layer is not None)
        keys = self.key_projection(values)
        return state, (keys, values if self.config.heads == 1 else split_heads(values, self.config.heads))

    def read_words(self, words: tf.Tensor) -> tf.Tensor:
        """See `Decoder.read_words`."""
        return self.gates_from_word(words)

    def advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """See `Decoder.advance`; the hidden is h and context, [B, K, units + value_units]."""
        h = state[0]
        context = self._attend(h, memory) * self.selector(h)
        gates = words + self.gates_from_context(context)
        if self.config.cell == "lstm":
            state = lstm(gates + self.gates_from_h(h), state[1])
        else:
            state = (gru(gates, self.gates_from_h(h), h),)
        return tf.concat((state[0], context), -1), state

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """See `Decoder.project`."""
        return tied_logits(self.output_projection(hidden), self.embedding, self.output_bias)

    def _attend(self, h: tf.Tensor, memory: Memory) -> tf.Tensor:
        if self.config.heads == 1:
            return additive_attention(self.query(h), memory, self.energy)
        keys, values = memory
        weights = tf.nn.softmax(tf.transpose(energies(self.query(h), keys, self.energy), (0, 3, 1, 2)))
        return merge_heads(tf.matmul(weights, values))  # [B, heads, K, L] by [B, heads, L, share]

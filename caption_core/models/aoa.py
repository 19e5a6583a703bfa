"""Attention-on-attention decoder: Huang et al. 2019, AoANet (arXiv 1908.06954), over grid features.

Attention on attention gates what multi-head attention found by how far it answers the query. The refining encoder lets
grid locations attend to each other; the decoder's LSTM queries the refined grid.

Differences from the paper: a grid of the encoder's last layer instead of detected regions; the output layer is tied to
the word embedding (arXiv 1608.05859).

Shapes as in `decoder.py`: B images, K captions an image, L grid locations; H heads of D = units / H.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from caption_core.models.decoder import (
    Decoder,
    Memory,
    Shapes,
    State,
    dropout,
    merge_heads,
    split_heads,
    tied_logits,
    zero_state,
)
from caption_core.models.decoder_configs import AttentionOnAttentionConfig
from caption_core.models.recurrent import OrthogonalGates, forget_bias, lstm

_REFINING_PLACE = 3  # of the first refining layer's dropout mask; the next layers' follow
_EPSILON = 1e-6


class AttentionOnAttentionDecoder(Decoder):
    """A refining encoder, and an LSTM whose output is attention on attention (see `Decoder`).

    Args:
        config: its sizes.
    """

    config: AttentionOnAttentionConfig

    def __init__(self, config: AttentionOnAttentionConfig) -> None:
        super().__init__(config)
        units, gates = config.units, 4 * config.units
        self.feature_projection = self._dense("feature_projection", config.feature_channels, units, activation="relu")
        self.refiner = [self._refining_layer(number) for number in range(config.refining_layers)]
        self.gates_from_word = self._dense(
            "gates_from_word", config.embedding_units, gates, bias_initializer=forget_bias(units)
        )
        self.gates_from_mean = self._dense("gates_from_mean", units, gates, use_bias=False)
        self.gates_from_h = self._dense(
            "gates_from_h", units, gates, use_bias=False, kernel_initializer=OrthogonalGates(units)
        )
        self.query = self._dense("query", units, units)
        # A key's bias would add the same to a query's energy everywhere.
        self.key_projection = self._dense("key_projection", units, units, use_bias=False)
        self.value_projection = self._dense("value_projection", units, units)
        self.gated = self._dense("gated", 2 * units, 2 * units)
        self.output_projection = self._dense("output_projection", units, config.embedding_units)
        self.output_bias = self.add_weight("output_bias", (config.vocabulary_size,), initializer="zeros")
        self.built = True

    def _dense(self, name: str, inputs: int, units: int, **options: object) -> tf_keras.layers.Dense:
        layer = tf_keras.layers.Dense(units, name=name, **options)
        layer.build((None, inputs))
        return layer

    def _refining_layer(self, number: int) -> dict[str, tf_keras.layers.Layer]:
        units, name = self.config.units, f"refining_{number}"
        return {
            "query": self._dense(f"{name}_query", units, units),
            "key": self._dense(f"{name}_key", units, units, use_bias=False),
            "value": self._dense(f"{name}_value", units, units),
            "gated": self._dense(f"{name}_gated", 2 * units, 2 * units),
            "norm": _LayerNorm(f"{name}_norm", units),
        }

    @property
    def state_shapes(self) -> Shapes:
        """`h` and `c` of the LSTM, and the last `context`."""
        return dict.fromkeys(("h", "c", "context"), (None, None, self.config.units))

    @property
    def memory_shapes(self) -> Shapes:
        """The refined grid as `keys` and `values` of every head, and what its mean adds to the gates at every step."""
        heads, share = self.config.heads, self.config.units // self.config.heads
        return {
            "keys": (None, heads, None, share),
            "values": (None, heads, None, share),
            "mean_gates": (None, 1, 4 * self.config.units),
        }

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """See `Decoder.start`."""
        grid = self.feature_projection(dropout(features, self.config.feature_dropout, dropout_seed, 0))
        for number, layers in enumerate(self.refiner):
            grid = self._refine(grid, layers, dropout_seed, _REFINING_PLACE + number)
        mean_gates = self.gates_from_mean(tf.reduce_mean(grid, axis=1, keepdims=True))
        state = tuple(zero_state(grid, self.config.units) for _ in self.state_shapes)
        return state, (self._split(self.key_projection(grid)), self._split(self.value_projection(grid)), mean_gates)

    def read_words(self, words: tf.Tensor) -> tf.Tensor:
        """See `Decoder.read_words`."""
        return self.gates_from_word(words)

    def advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """See `Decoder.advance`; the hidden is the context, [B, K, units]."""
        h, c, context = state
        keys, values, mean_gates = memory
        # The LSTM reads the mean feature plus the last context: both go through one matrix, the mean's part only once.
        gates = words + mean_gates + self.gates_from_mean(context) + self.gates_from_h(h)
        h, c = lstm(gates, c)
        found = merge_heads(_attend(self._split(self.query(h)), keys, values))
        context = _glu(self.gated(tf.concat((found, h), -1)))
        return context, (h, c, context)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """See `Decoder.project`."""
        return tied_logits(self.output_projection(hidden), self.embedding, self.output_bias)

    def _refine(
        self, grid: tf.Tensor, layers: dict[str, tf_keras.layers.Layer], seed: tf.Tensor | None, place: int
    ) -> tf.Tensor:
        """One refining layer: grid [B, L, units] to grid."""
        query = layers["query"](grid)
        keys, values = self._split(layers["key"](grid)), self._split(layers["value"](grid))
        found = merge_heads(_attend(self._split(query), keys, values))
        refined = _glu(layers["gated"](tf.concat((found, query), -1)))
        return layers["norm"](grid + dropout(refined, self.config.refining_dropout, seed, place))

    def _split(self, rows: tf.Tensor) -> tf.Tensor:
        return split_heads(rows, self.config.heads)


def _attend(query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Scaled dot-product attention (arXiv 1706.03762) a head: [B, H, K, D] over [B, H, L, D] to [B, H, K, D]."""
    energies = tf.matmul(query, keys, transpose_b=True) * query.shape[-1] ** -0.5
    return tf.matmul(tf.nn.softmax(energies), values)


def _glu(values: tf.Tensor) -> tf.Tensor:
    """Information times gate (arXiv 1612.08083): [..., 2 units] to [..., units]."""
    information, gate = tf.split(values, 2, axis=-1)
    return information * tf.sigmoid(gate)


class _LayerNorm(tf_keras.layers.Layer):
    """Layer normalization (arXiv 1607.06450) of operations that LiteRT has, which Keras' fused batch norm is not."""

    def __init__(self, name: str, units: int) -> None:
        super().__init__(name=name)
        self.gamma = self.add_weight("gamma", (units,), initializer="ones")
        self.beta = self.add_weight("beta", (units,), initializer="zeros")

    def call(self, values: tf.Tensor) -> tf.Tensor:
        centred = values - tf.reduce_mean(values, axis=-1, keepdims=True)
        # Not tf.square: the converter would make one operation of it that LiteRT has no int16 kernel for.
        variance = tf.reduce_mean(centred * centred, axis=-1, keepdims=True)
        return centred * tf.math.rsqrt(variance + _EPSILON) * self.gamma + self.beta

"""Merge decoder, as in arXiv 2012.09708: an LSTM over the words alone, which the image's vector joins after it.

The architecture is Tanti et al.'s (arXiv 1703.09137): the image never enters the recurrence, so the LSTM is a language
model, and a dense layer over the sum (or the concatenation) of both feeds a dense softmax. Other than in the paper, the
softmax' layer may be tied to the word embedding (Press and Wolf 2017, arXiv 1608.05859).

Shapes as in `decoder.py`: B images, K captions an image, L locations of the features, 1 for a vector.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from caption_core.models.decoder import Decoder, Memory, Shapes, State, dropout, tied_logits, zero_state
from caption_core.models.decoder_configs import MergeConfig
from caption_core.models.recurrent import OrthogonalGates, forget_bias, lstm


class MergeDecoder(Decoder):
    """Words through an LSTM, merged with the image's vector (see `Decoder`). A grid is averaged to a vector.

    Args:
        config: its sizes, and how it merges.
    """

    config: MergeConfig

    def __init__(self, config: MergeConfig) -> None:
        super().__init__(config)
        dense = tf_keras.layers.Dense
        units, gates = config.units, 4 * config.units
        self.feature_projection = dense(units, activation="relu", name="feature_projection")
        self.gates_from_word = dense(gates, bias_initializer=forget_bias(units), name="gates_from_word")
        self.gates_from_h = dense(gates, use_bias=False, kernel_initializer=OrthogonalGates(units), name="gates_from_h")
        self.merged = dense(units, activation="relu", name="merged")
        is_tied, needs_projection = config.output == "tied", units != config.embedding_units
        self.output_layer = None if is_tied else dense(config.vocabulary_size, name="output_layer")
        self.output_projection = (
            dense(config.embedding_units, name="output_projection") if is_tied and needs_projection else None
        )
        if is_tied:
            self.output_bias = self.add_weight("output_bias", (config.vocabulary_size,), initializer="zeros")
        self._build_layers()

    def _build_layers(self) -> None:
        config = self.config
        self.feature_projection.build((None, config.feature_channels))
        self.gates_from_word.build((None, config.embedding_units))
        self.gates_from_h.build((None, config.units))
        self.merged.build((None, config.units if config.merge == "add" else 2 * config.units))
        for layer in filter(None, (self.output_layer, self.output_projection)):
            layer.build((None, config.units))
        self.built = True

    @property
    def state_shapes(self) -> Shapes:
        """`h` and `c` of the LSTM."""
        return dict.fromkeys(("h", "c"), (None, None, self.config.units))

    @property
    def memory_shapes(self) -> Shapes:
        """The image's projected vector."""
        return {"image": (None, 1, self.config.units)}

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """See `Decoder.start`."""
        vector = tf.reduce_mean(features, axis=1, keepdims=True)  # [B, 1, channels]
        vector = dropout(vector, self.config.feature_dropout, dropout_seed, 0)
        image = self.feature_projection(vector)
        return tuple(zero_state(image, self.config.units) for _ in self.state_shapes), (image,)

    def read_words(self, words: tf.Tensor) -> tf.Tensor:
        """See `Decoder.read_words`."""
        return self.gates_from_word(words)

    def advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """See `Decoder.advance`; the hidden is the merged layer, [B, K, units]."""
        h, c = lstm(words + self.gates_from_h(state[0]), state[1])
        (image,) = memory
        both = h + image if self.config.merge == "add" else tf.concat((h, image + tf.zeros_like(h)), -1)
        return self.merged(both), (h, c)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """See `Decoder.project`."""
        if self.output_layer is not None:
            return self.output_layer(hidden)
        projected = hidden if self.output_projection is None else self.output_projection(hidden)
        return tied_logits(projected, self.embedding, self.output_bias)

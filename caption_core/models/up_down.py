"""Up-Down decoder: Anderson et al. 2018, "Bottom-Up and Top-Down Attention" (arXiv 1707.07998), over grid features.

One LSTM attends (it reads the other's last output, the mean feature and the word), the other speaks.

Differences from the paper: a grid of the encoder's last layer instead of detected regions, projected once an image; the
output layer is tied to the word embedding (arXiv 1608.05859).

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
    tied_logits,
    zero_state,
)
from caption_core.models.decoder_configs import UpDownConfig
from caption_core.models.recurrent import OrthogonalGates, forget_bias, lstm


class UpDownDecoder(Decoder):
    """An attention LSTM and a language LSTM (see `Decoder`).

    Args:
        config: its sizes.
    """

    config: UpDownConfig

    def __init__(self, config: UpDownConfig) -> None:
        super().__init__(config)
        self.feature_projection = _dense("feature_projection", config.value_units, activation="relu")
        self.key_projection = _dense("key_projection", config.attention_units)
        self.query = _dense("query", config.attention_units, use_bias=False)
        self.energy = _dense("energy", 1, use_bias=False)
        self.attend_from_word = self._gates("attend_from_word", bias=True)
        self.attend_from_mean = self._gates("attend_from_mean")
        self.attend_from_spoken = self._gates("attend_from_spoken")
        self.attend_from_h = self._gates("attend_from_h", recurrent=True)
        self.speak_from_context = self._gates("speak_from_context", bias=True)
        self.speak_from_attended = self._gates("speak_from_attended")
        self.speak_from_h = self._gates("speak_from_h", recurrent=True)
        self.output_projection = _dense("output_projection", config.embedding_units)
        self.output_bias = self.add_weight("output_bias", (config.vocabulary_size,), initializer="zeros")
        self._build_layers()

    def _gates(self, name: str, *, bias: bool = False, recurrent: bool = False) -> tf_keras.layers.Dense:
        units = self.config.units
        kernel = OrthogonalGates(units) if recurrent else "glorot_uniform"
        return _dense(name, 4 * units, use_bias=bias, kernel_initializer=kernel, bias_initializer=forget_bias(units))

    def _build_layers(self) -> None:
        config = self.config
        self.feature_projection.build((None, config.feature_channels))
        for layer in (self.key_projection, self.attend_from_mean, self.speak_from_context):
            layer.build((None, config.value_units))
        for layer in (self.query, self.attend_from_spoken, self.attend_from_h, self.speak_from_attended):
            layer.build((None, config.units))
        for layer in (self.speak_from_h, self.output_projection):
            layer.build((None, config.units))
        self.energy.build((None, config.attention_units))
        self.attend_from_word.build((None, config.embedding_units))
        self.built = True

    @property
    def state_shapes(self) -> Shapes:
        """h and c of the LSTM that attends, and of the one that speaks."""
        return dict.fromkeys(("attend_h", "attend_c", "speak_h", "speak_c"), (None, None, self.config.units))

    @property
    def memory_shapes(self) -> Shapes:
        """The grid as `keys` and `values`, and what its mean adds to the first LSTM's gates at every step."""
        return {
            "keys": (None, None, self.config.attention_units),
            "values": (None, None, self.config.value_units),
            "mean_gates": (None, 1, 4 * self.config.units),
        }

    def start(self, features: tf.Tensor, dropout_seed: tf.Tensor | None = None) -> tuple[State, Memory]:
        """See `Decoder.start`."""
        features = dropout(features, self.config.feature_dropout, dropout_seed, 0)
        values = self.feature_projection(features)
        mean_gates = self.attend_from_mean(tf.reduce_mean(values, axis=1, keepdims=True))
        state = tuple(zero_state(values, self.config.units) for _ in self.state_shapes)
        return state, (self.key_projection(values), values, mean_gates)

    def read_words(self, words: tf.Tensor) -> tf.Tensor:
        """See `Decoder.read_words`."""
        return self.attend_from_word(words)

    def advance(self, words: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
        """See `Decoder.advance`; the hidden is the speaking LSTM's h, [B, K, units]."""
        attend_h, attend_c, speak_h, speak_c = state
        *grid, mean_gates = memory
        gates = words + mean_gates + self.attend_from_spoken(speak_h) + self.attend_from_h(attend_h)
        attend_h, attend_c = lstm(gates, attend_c)
        context = additive_attention(self.query(attend_h), tuple(grid), self.energy)
        gates = self.speak_from_context(context) + self.speak_from_attended(attend_h) + self.speak_from_h(speak_h)
        speak_h, speak_c = lstm(gates, speak_c)
        return speak_h, (attend_h, attend_c, speak_h, speak_c)

    def project(self, hidden: tf.Tensor) -> tf.Tensor:
        """See `Decoder.project`."""
        return tied_logits(self.output_projection(hidden), self.embedding, self.output_bias)


def _dense(name: str, units: int, **options: object) -> tf_keras.layers.Dense:
    return tf_keras.layers.Dense(units, name=name, **options)

"""The captioning model: an encoder and a decoder with their vocabulary, in TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core import search
from caption_core.models.soft_attention import Memory, SoftAttentionDecoder


class DecoderFunctions:
    """A decoder's `start` and `step` as compiled functions over NumPy arrays.

    Args:
        decoder: the decoder; later changes of its weights are seen.
    """

    def __init__(self, decoder: SoftAttentionDecoder) -> None:
        config = decoder.config
        row = tf.TensorSpec((None, None, config.units), tf.float32)
        memory = (
            tf.TensorSpec((None, None, config.attention_units), tf.float32),
            tf.TensorSpec((None, None, config.value_units), tf.float32),
        )
        features = tf.TensorSpec((None, None, config.feature_channels), tf.float32)
        tokens = tf.TensorSpec((None, None), tf.int32)
        self._start = tf.function(decoder.start, input_signature=[features])
        self._step = tf.function(decoder.step, input_signature=[tokens, (row, row), memory])

    def start(self, features: NDArray[np.float32]) -> tuple[search.State, search.Step]:
        """Features float32 [B, L, channels] to the first state and the step over these images."""
        (h, c), memory = self._start(tf.constant(features))

        def step(tokens: NDArray[np.int32], state: search.State) -> tuple[NDArray[np.float32], search.State]:
            return self._advance(tokens, state, memory)

        return (h.numpy(), c.numpy()), step

    def _advance(
        self, tokens: NDArray[np.int32], state: search.State, memory: Memory
    ) -> tuple[NDArray[np.float32], search.State]:
        logits, (h, c) = self._step(tf.constant(tokens), tuple(map(tf.constant, state)), memory)
        return logits.numpy(), (h.numpy(), c.numpy())


@dataclass(frozen=True, slots=True)
class CaptioningModel:
    """Encoder and decoder that belong together."""

    encoder: tf_keras.Model
    decoder: SoftAttentionDecoder

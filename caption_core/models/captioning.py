"""The captioning model: an encoder and a decoder with their vocabulary, in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core import search
from caption_core.models.decoder import Decoder, Memory, State
from caption_core.models.tracing import as_graph


class DecoderFunctions:
    """A decoder's `start` and `step` as compiled functions over NumPy arrays.

    Args:
        decoder: the decoder; later changes of its weights are seen.
    """

    def __init__(self, decoder: Decoder) -> None:
        # A search keeps its state in NumPy, which knows no bfloat16: outside, everything is float32.
        precision = decoder.compute_dtype

        def start(features: tf.Tensor) -> tuple[State, Memory]:
            state, memory = decoder.start(features)
            return _cast(state, tf.float32), _cast(memory, tf.float32)

        def step(tokens: tf.Tensor, state: State, memory: Memory) -> tuple[tf.Tensor, State]:
            logits, state = decoder.step(tokens, _cast(state, precision), _cast(memory, precision))
            return logits, _cast(state, tf.float32)

        features = tf.TensorSpec((None, None, decoder.config.feature_channels), tf.float32)
        tokens = tf.TensorSpec((None, None), tf.int32)
        state = tuple(tf.TensorSpec(shape, tf.float32) for shape in decoder.state_shapes.values())
        memory = tuple(tf.TensorSpec(shape, tf.float32) for shape in decoder.memory_shapes.values())
        self._start = as_graph(start, [features])
        self._step = as_graph(step, [tokens, state, memory])

    def start(self, features: NDArray[np.float32]) -> tuple[search.State, search.Step]:
        """Features float32 [B, L, channels] to the first state and the step over these images."""
        first, memory = self._start(tf.constant(features))
        return tuple(part.numpy() for part in first), _Step(self._step, memory)


@dataclass(frozen=True)
class _Step:
    """A decoder's step over a batch of images (see `search.Step`)."""

    function: Callable[[tf.Tensor, State, Memory], tuple[tf.Tensor, State]]
    memory: Memory

    def __call__(self, tokens: NDArray[np.int32], state: search.State) -> tuple[NDArray[np.float32], search.State]:
        logits, following = self.function(tf.constant(tokens), tuple(map(tf.constant, state)), self.memory)
        return logits.numpy(), tuple(part.numpy() for part in following)

    def of(self, images: search.Images) -> _Step:
        """See `search.Step.of`."""
        return replace(self, memory=tuple(tf.gather(part, images) for part in self.memory))


def _cast(arrays: State, precision: tf.DType | str) -> State:
    return tuple(tf.cast(array, precision) for array in arrays)


@dataclass(frozen=True, slots=True)
class CaptioningModel:
    """Encoder and decoder that belong together."""

    encoder: tf_keras.Model
    decoder: Decoder

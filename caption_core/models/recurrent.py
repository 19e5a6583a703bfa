"""Recurrent cells as functions of their summed gates, and how their weights begin.

A decoder sums the gates itself: what a word or an image adds to them is computed once, not at every step.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras


def lstm(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """LSTM cell (Hochreiter and Schmidhuber 1997): gates [..., 4 units] (write, forget, cell, read) and c to (h, c)."""
    write, forget, cell, read = tf.split(gates, 4, axis=-1)
    c = tf.sigmoid(forget) * c + tf.sigmoid(write) * tf.tanh(cell)
    return tf.sigmoid(read) * tf.tanh(c), c


def gru(from_input: tf.Tensor, from_h: tf.Tensor, h: tf.Tensor) -> tf.Tensor:
    """GRU cell (Cho et al. 2014, arXiv 1406.1078): gates [..., 3 units] (keep, reset, candidate) and h to the next h.

    The reset gate acts after the recurrent matrix, so that all three gates are one product.
    """
    keep, reset, candidate = tf.split(from_input, 3, axis=-1)
    keep_h, reset_h, candidate_h = tf.split(from_h, 3, axis=-1)
    keep = tf.sigmoid(keep + keep_h)
    candidate = tf.tanh(candidate + tf.sigmoid(reset + reset_h) * candidate_h)
    return keep * h + (1.0 - keep) * candidate


def forget_bias(units: int) -> tf_keras.initializers.Initializer:
    """LSTM gate biases of zero but for the forget gate's one (Jozefowicz et al. 2015)."""
    bias = np.zeros(4 * units, np.float32)
    bias[units : 2 * units] = 1.0
    return tf_keras.initializers.Constant(bias)


class OrthogonalGates(tf_keras.initializers.Initializer):
    """One orthogonal recurrent matrix a gate, side by side."""

    def __init__(self, units: int) -> None:
        self.units = units

    def __call__(self, shape: tf.TensorShape, dtype: tf.DType | None = None, **_: object) -> tf.Tensor:
        """Draw the matrices, float32 [units, gates * units]."""
        # A fresh initializer a gate: one that is called again returns the same matrix.
        size = (self.units, self.units)
        gates = [tf_keras.initializers.Orthogonal()(size, dtype or tf.float32) for _ in range(shape[1] // self.units)]
        return tf.concat(gates, axis=1)

"""The rounding to 8 bits of LiteRT's quantized graphs, on float tensors, with straight-through gradients.

Gradients pass as if nothing had been rounded (Bengio et al. 2013, arXiv 1308.3432). Weights: symmetric, a scale an
output channel. What they are multiplied by: asymmetric, its range read off it as it comes, or one that is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

_SMALLEST_SCALE = 1e-30  # stands for the scale of what is zero throughout


def rounded_channels(weights: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    """Weights in int8 from -127 to 127 times a scale; a scale is shared along `axes`."""
    largest = tf.reduce_max(tf.abs(weights), axis=list(axes), keepdims=True)
    scales = tf.maximum(largest / 127.0, _SMALLEST_SCALE)
    return _straight_through(weights, tf.round(weights / scales) * scales)


def rounded_rows(values: tf.Tensor) -> tf.Tensor:
    """Values [..., size] in int8, each row's range being its own, as LiteRT's hybrid kernels have them."""
    return _asymmetric(values, [-1])


def rounded_images(values: tf.Tensor) -> tf.Tensor:
    """Values [images, ...] in int8, each image's range being its own, as LiteRT's hybrid convolutions have them."""
    return _asymmetric(values, range(1, len(values.shape)))


def rounded_whole(values: tf.Tensor) -> tf.Tensor:
    """Values of any shape in int8, in the range of all of them."""
    return _asymmetric(values, range(len(values.shape)))


def _asymmetric(values: tf.Tensor, axes: Sequence[int]) -> tf.Tensor:
    # The range holds zero, and zero is one of the integers.
    low = tf.minimum(tf.reduce_min(values, axis=list(axes), keepdims=True), 0.0)
    high = tf.maximum(tf.reduce_max(values, axis=list(axes), keepdims=True), 0.0)
    scales = tf.maximum((high - low) / 255.0, _SMALLEST_SCALE)
    zero = tf.clip_by_value(tf.round(-128.0 - low / scales), -128.0, 127.0)
    steps = tf.clip_by_value(tf.round(values / scales) + zero, -128.0, 127.0)
    return _straight_through(values, (steps - zero) * scales)


def _straight_through(values: tf.Tensor, rounded: tf.Tensor) -> tf.Tensor:
    return values + tf.stop_gradient(rounded - values)

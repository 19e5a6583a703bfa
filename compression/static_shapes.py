"""Graphs whose shapes follow from their inputs' shapes, which LiteRT's fast kernels need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import tensorflow as tf
import tf_keras

from caption_core.models.decoder import Decoder


@contextmanager
def static_products(decoder: Decoder) -> Iterator[None]:
    """Let a decoder's dense layers multiply inputs of any axes as they are, for functions that are traced meanwhile.

    Keras flattens the axes first, by a shape that it computes in the graph. LiteRT can't tell in advance what comes of
    that, and leaves all operations behind it to its slower kernels.
    """
    layers = [layer for layer in decoder.layers if isinstance(layer, tf_keras.layers.Dense)]
    # Past Keras' own __setattr__, which would track the function as a part of the model.
    for layer in layers:
        layer.__dict__["call"] = _product(layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.__dict__["call"]


def _product(layer: tf_keras.layers.Dense) -> Callable[[tf.Tensor], tf.Tensor]:
    """What the layer computes; operations have the names that Keras gives them, by which weights are found."""

    def call(inputs: tf.Tensor) -> tf.Tensor:
        made = tf.matmul(inputs, layer.kernel, name="MatMul")
        if layer.use_bias:
            made = tf.nn.bias_add(made, layer.bias, name="BiasAdd")
        return layer.activation(made)

    return call

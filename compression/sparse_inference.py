"""Encoders whose zeros XNNPACK skips: a mirrored twin of the same features that meets its conditions.

XNNPACK, where LiteRT's fast kernels come from, has some for sparse 1x1 convolutions, and asks much of the graph around
them (`xnn_subgraph_rewrite_for_nchw` in its sources; Elsen et al. 2020, arXiv 1911.09723): the first convolution is of
3x3 with stride 2, all padding is the same on each side, and a mean over the image or `DEPTH_TO_SPACE` ends it. Keras
pads even images below and to the right alone where it strides. Such a network, with each kernel turned by half a turn,
computes of the turned image the turned features, and pads above and to the left: a row more on the other side is never
read. Turned twice, image and features are as they were.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

_BLOCK = 2  # of DEPTH_TO_SPACE: channels have to be a multiple of its square

_layers = tf_keras.layers
# Each image's positions apart, or all alike.
_POINTWISE = (_layers.Rescaling, _layers.BatchNormalization, _layers.ReLU, _layers.Add, _layers.Multiply)
_ADDED, _SCALED = "__operators__.add", "math.multiply"  # MobileNetV3's hard sigmoid has these with a number


def can_run_sparse(encoder: tf_keras.Model) -> bool:
    """Whether XNNPACK can skip the zeros of an encoder's mirrored twin in float32, on processors where it does that.

    More than two thirds of the weights of its 1x1 convolutions have to be zero. Of `ENCODERS` it is the MobileNets
    whose graphs meet the other conditions.
    """
    return _has_sparse_pointwise(encoder) and _has_fit_layers(encoder)


def _has_sparse_pointwise(encoder: tf_keras.Model) -> bool:
    kernels = [layer.kernel.numpy() for layer in encoder.layers if _is_pointwise(layer)]
    zeros = sum(int(np.count_nonzero(kernel == 0)) for kernel in kernels)
    return 3 * zeros > 2 * sum(kernel.size for kernel in kernels)


def _is_pointwise(layer: tf_keras.layers.Layer) -> bool:
    return type(layer) is _layers.Conv2D and (layer.kernel_size, layer.strides, layer.groups) == ((1, 1), (1, 1), 1)


def _has_fit_layers(encoder: tf_keras.Model) -> bool:
    inner = [layer for layer in encoder.layers if type(layer) is not _layers.InputLayer]
    first, last = next((layer for layer in inner if hasattr(layer, "kernel_size")), inner[0]), inner[-1]
    return (
        _is_first(first)
        and isinstance(last, _layers.Reshape)
        and last.output_shape[-1] == last.input_shape[-1]
        and last.output_shape[-1] % _BLOCK**2 == 0
        and all(_is_fit(layer) for layer in inner if layer not in (first, last))
    )


def _is_first(layer: tf_keras.layers.Layer) -> bool:
    return (
        type(layer) is _layers.Conv2D
        and (layer.kernel_size, layer.strides, layer.dilation_rate) == ((3, 3), (2, 2), (1, 1))
        and (layer.padding, layer.groups) == ("same", 1)
    )


def _is_fit(layer: tf_keras.layers.Layer) -> bool:
    if type(layer) is _layers.ZeroPadding2D:
        return all(_is_fit_depthwise(node.outbound_layer) for node in layer.outbound_nodes)
    is_known = isinstance(layer, (*_POINTWISE, _layers.GlobalAveragePooling2D)) or _function(layer) in (_ADDED, _SCALED)
    return is_known or _is_pointwise(layer) or _is_fit_depthwise(layer)


def _function(layer: tf_keras.layers.Layer) -> str | None:
    """The function that Keras made a layer of, where its second argument is a number."""
    if type(layer).__name__ != "TFOpLambda":
        return None
    arguments = layer.inbound_nodes[0].call_args
    return str(layer.get_config()["function"]) if len(arguments) == 2 and isinstance(arguments[1], float) else None


def _is_fit_depthwise(layer: tf_keras.layers.Layer) -> bool:
    if type(layer) is not _layers.DepthwiseConv2D:
        return False
    size, strides = layer.kernel_size[0], layer.strides[0]
    if layer.kernel_size not in ((3, 3), (5, 5)) or layer.depth_multiplier != 1 or layer.dilation_rate != (1, 1):
        return False
    if strides == 1:
        return bool(layer.padding == "same")
    before = layer.inbound_nodes[0].inbound_layers
    is_padded = layer.padding == "valid" and type(before) is _layers.ZeroPadding2D
    return strides == 2 and is_padded and _even_padding(before) == size // 2


def _even_padding(layer: tf_keras.layers.ZeroPadding2D) -> int | None:
    """What a twin pads each side by, where the layer pads as Keras does: even images above and to the left by less."""
    below = layer.padding[0][1]
    expected = tuple((below - 1 + size % 2, below) for size in layer.input_shape[1:3])
    return below if layer.padding == expected else None


def mirrored(encoder: tf_keras.Model) -> tf_keras.Model:
    """The twin of an encoder that `can_run_sparse`: of the same inputs the same features, but for float32's rounding.

    Args:
        encoder: float32 [batch, height, width, 3] to float32 [batch, locations, channels]. It stays as it is, and the
            twin's weights are copies.
    """
    pixels = tf_keras.Input(encoder.input_shape[1:], name="pixels")
    twin = tf_keras.models.clone_model(encoder, clone_function=_twin_of)
    for layer, its_twin in zip(encoder.layers, twin.layers, strict=True):
        its_twin.set_weights(_turned(layer))
    return tf_keras.Model(pixels, twin(tf.reverse(pixels, axis=(1, 2))), name=encoder.name)


def _twin_of(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    settings: dict[str, Any] = layer.get_config()
    if _is_first(layer):
        return _EvenlyPadded.from_config(settings)
    if isinstance(layer, _layers.ZeroPadding2D):
        return _layers.ZeroPadding2D(_even_padding(layer), name=layer.name)
    if _function(layer) == _SCALED and layer.input_shape[1:3] == (1, 1):  # elsewhere it is a part of HARD_SWISH
        return _Scaled(name=layer.name)
    if isinstance(layer, _layers.Reshape):
        return _TurnedBack.from_config(settings)
    return type(layer).from_config(settings)


def _turned(layer: tf_keras.layers.Layer) -> list[np.ndarray[Any, Any]]:
    weights: list[np.ndarray[Any, Any]] = layer.get_weights()
    return [weight[::-1, ::-1] if weight.ndim == 4 else weight for weight in weights]  # 4: kernels alone


class _EvenlyPadded(tf_keras.layers.Conv2D):
    """A convolution without padding, of an image that gets a row and a column of zeros on each side."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return tf.nn.conv2d(padded, kernel, self.strides, "VALID", name="Conv2D")  # by this name weights are found


class _Scaled(tf_keras.layers.Layer):
    """A product with a number, which has as many axes as the image: XNNPACK asks for that."""

    def call(self, inputs: tf.Tensor, y: float, **_: Any) -> tf.Tensor:
        return inputs * tf.fill((1,) * inputs.shape.rank, y)


class _TurnedBack(tf_keras.layers.Reshape):
    """A turned grid [B, H, W, C] to the locations [B, H * W, C] as they were; one vector stays."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        if inputs.shape.rank != 4:
            return super().call(inputs)
        # Nothing in all: XNNPACK takes the first for the sparse part's end.
        grid = tf.nn.space_to_depth(tf.nn.depth_to_space(inputs, _BLOCK), _BLOCK)
        return tf.reverse(super().call(grid), axis=(1,))

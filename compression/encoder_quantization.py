"""The encoder with the rounding of int8 in its forward pass, by TF-MOT, and its conversion to LiteRT.

As in Jacob et al. 2018 (arXiv 1712.05877): weights in symmetric int8 with a range a channel, activations in int8 with a
range that is kept. What a convolution's weights have is preserved while they train: zeros (PQAT), clusters (CQAT) or
both (PCQAT), which is TF-MOT's collaborative optimization.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import BundleError, UsageError
from caption_core.models.tracing import as_graph
from caption_core.models.weights import Weights, assign_weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.context import trained_ranges
from compression.settings.quantization import ROUNDABLE_ENCODERS
from compression.shared_buffers import share_equal_buffers

_PREFIX = "encoder_quantization"

_combine, _quantization = tfmot.experimental.combine, tfmot.quantization.keras
_SCHEMES: dict[str, Callable[[], Any]] = {
    "QAT": _quantization.default_8bit.Default8BitQuantizeScheme,
    "PQAT": _combine.Default8BitPrunePreserveQuantizeScheme,
    "CQAT": lambda: _combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=False),
    "PCQAT": lambda: _combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=True),
}

_FEW_ZEROS = 0.01  # share of a kernel; what has more, as some of ImageNet's MobileNetV2 has unpruned, keeps them
_LARGEST_CODEBOOK = 256  # distinct values of a clustered matrix, or of a channel of it
_SHARED = 0.1  # share of the weights whose values clustering makes others', at least; chance makes next to none so
_LEVELS, _LEVEL_ERROR = 127, 1e-4  # of symmetric int8, and what float32 makes of a level, in levels

# Variables of activations' ranges: after a layer, or after the activation function within it.
_ACTIVATIONS = ("output", "post_activation")


def scheme_of(layer: tf_keras.layers.Layer) -> str:
    """What training has to preserve of a layer's kernel: `QAT` is nothing, `PQAT` zeros, `CQAT` clusters, `PCQAT` both.

    A depthwise kernel is neither pruned nor clustered.
    """
    if type(layer) not in (tf_keras.layers.Conv2D, tf_keras.layers.Dense):
        return "QAT"
    kernel = layer.kernel.numpy()
    pruned = np.mean(kernel == 0) > _FEW_ZEROS
    return f"{'P' if pruned else ''}{'C' if _is_clustered(kernel) else ''}QAT"


def _is_clustered(kernel: NDArray[np.float32]) -> bool:
    """Whether a kernel [..., out] is clustered as a whole or a channel, by the values that it has beside zero.

    How many there are says nothing: pruning leaves few weights, but each with a value of its own. Nor are weights
    clustered that were int8 once, such as the bundled encoder's: they share the levels of an even grid.
    """
    matrix, channels = kernel.reshape(1, -1), kernel.reshape(-1, kernel.shape[-1]).T
    if _lies_on_levels(matrix) or _lies_on_levels(channels):
        return False
    return _has_codebooks(matrix) or _has_codebooks(channels)


def _has_codebooks(rows: NDArray[np.float32]) -> bool:
    """Whether weights share values in rows [rows, elements], as far as one has more of them than the largest codebook.

    A row of fewer weights than clusters keeps them as they are, and a few of a network's channels do nothing.
    """
    ascending = np.sort(rows, axis=1)
    repeated = (ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] != 0)
    weights = np.count_nonzero(rows, axis=1)
    codebook = (weights - repeated.sum(axis=1)).max()
    return bool(1 < codebook <= min(_LARGEST_CODEBOOK, (1 - _SHARED) * weights.max()))


def _lies_on_levels(rows: NDArray[np.float32]) -> bool:
    """Whether all weights are multiples of a 127th of their row's largest, as symmetric int8 makes them."""
    scales = np.abs(rows).max(axis=1, keepdims=True) / _LEVELS
    levels = rows / np.where(scales > 0, scales, 1)
    return bool((np.abs(levels - np.round(levels)) < _LEVEL_ERROR).all())


class FakeQuantizedRescaling(tf_keras.layers.Layer):
    """`pixels * scale + offset` with every product and sum rounded to 8 bits; pixels lie between 0 and 255.

    Args:
        scale, offset: as of Keras' `Rescaling`.
    """

    def __init__(self, scale: Any, offset: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._scale, self._offset = np.asarray(scale, np.float32), np.asarray(offset, np.float32)

    def call(self, pixels: tf.Tensor) -> tf.Tensor:
        """Pixels float32 [batch, height, width, 3] to what the first convolution takes, of the same shape."""
        ends = np.zeros_like(self._scale), np.full_like(self._scale, 255)
        values = _rounded(pixels, *ends)
        if (self._scale != 1).any():
            ends = ends[0] * self._scale, ends[1] * self._scale
            values = _rounded(values * self._scale, *ends)
        if (self._offset != 0).any():
            values = _rounded(values + self._offset, ends[0] + self._offset, ends[1] + self._offset)
        return values

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "scale": self._scale.tolist(), "offset": self._offset.tolist()}


def _rounded(values: tf.Tensor, low: NDArray[np.float32], high: NDArray[np.float32]) -> tf.Tensor:
    # Zero has to be among what a range can hold: it is what convolutions pad with.
    return tf.quantization.fake_quant_with_min_max_args(values, min(0.0, float(low.min())), max(0.0, float(high.max())))


class _DepthwiseQuantizer(tfmot.quantization.keras.quantizers.LastValueQuantizer):
    """A range a channel of a depthwise kernel [height, width, channels, 1]; of TF-MOT's own it has one for all."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: tf_keras.layers.Layer) -> dict[str, tf.Variable]:
        """Both ends of the range, float32 [channels], by the names that TF-MOT reads them by."""
        return {
            f"{end}_var": layer.add_weight(f"{name}_{end}", (tensor_shape[2],), initializer="zeros", trainable=False)
            for end in ("min", "max")
        }

    def __call__(self, inputs: tf.Tensor, training: bool, weights: Mapping[str, tf.Variable], **_: Any) -> tf.Tensor:
        """Rounded weights of the shape of `inputs`."""
        channels_last = tf.transpose(inputs, (0, 1, 3, 2))
        return tf.transpose(super().__call__(channels_last, training, weights), (0, 1, 3, 2))

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {}


class _Scheme:
    """TF-MOT's 8 bits, with what is preserved chosen layer by layer; it is scheme and registry in one."""

    def __init__(self) -> None:
        self._default = _SCHEMES["QAT"]()

    def get_layout_transformer(self) -> Any:
        """Which layers round as one."""
        return self._default.get_layout_transformer()

    def get_quantize_registry(self) -> _Scheme:
        """How layers round."""
        return self

    def supports(self, layer: tf_keras.layers.Layer) -> bool:
        """Whether a layer can round."""
        return self._default.get_quantize_registry().supports(layer)

    def get_quantize_config(self, layer: tf_keras.layers.Layer) -> Any:
        """How a layer rounds. Of its own: one without zeros would turn their preservation off for all who share it."""
        config = copy.copy(_SCHEMES[scheme_of(layer)]().get_quantize_registry().get_quantize_config(layer))
        if isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            config.weight_quantizer = _DepthwiseQuantizer()
        return config


def quantized_copy(encoder: tf_keras.Model) -> tf_keras.Model:
    """A copy of an encoder that rounds, with layers of the same names: its own weights and, not yet calibrated, ranges.

    Called with training=True it follows the ranges of what passes through it; batch norm keeps its statistics even so.

    Raises:
        UsageError: it has layers that int8 knows no rounding of.
    """
    _check_layers(encoder)
    annotated = tf_keras.models.clone_model(encoder, clone_function=_annotated)
    annotated.set_weights(encoder.get_weights())
    with _quantization.quantize_scope({"FakeQuantizedRescaling": FakeQuantizedRescaling}):
        quantized = _quantization.quantize_apply(annotated, _Scheme(), quantized_layer_name_prefix="")
    for wrapper in quantized.layers:
        if isinstance(getattr(wrapper, "layer", None), tf_keras.layers.BatchNormalization):
            wrapper.layer.trainable = False
    return quantized


def _check_layers(encoder: tf_keras.Model) -> None:
    layers = tf_keras.layers
    own, scheme = (layers.InputLayer, layers.Rescaling, layers.BatchNormalization), _Scheme()
    unknown = {
        type(layer).__name__ for layer in encoder.layers if not isinstance(layer, own) and not scheme.supports(layer)
    }
    if unknown:
        raise UsageError(
            f"quantization_aware can't round {encoder.name}'s layers ({', '.join(sorted(unknown))}): it works for "
            f"{', '.join(ROUNDABLE_ENCODERS)}; quantize alone works for every encoder"
        )


def _annotated(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
    if isinstance(layer, tf_keras.layers.Rescaling):
        return FakeQuantizedRescaling(layer.scale, layer.offset, name=layer.name)
    return _quantization.quantize_annotate_layer(type(layer).from_config(layer.get_config()))


def calibrate(quantized: tf_keras.Model, encoder: tf_keras.Model, batches: Iterable[NDArray[np.uint8]]) -> None:
    """Set the ranges of activations to what the float encoder's are over some images, and those of weights to theirs.

    Args:
        quantized: the encoder's `quantized_copy`.
        batches: images uint8 [batch, height, width, 3].
    """
    ends = _activation_ends(quantized)
    seen = tf_keras.Model(encoder.input, [encoder.get_layer(name).output for name in ends])
    measure = as_graph(
        lambda pixels: [(tf.reduce_min(array), tf.reduce_max(array)) for array in seen(pixels, training=False)],
        [tf.TensorSpec(encoder.input_shape, tf.float32)],
    )
    measured = np.array([measure(tf.cast(batch, tf.float32)) for batch in batches])  # [batches, layers, 2]
    lows, highs = np.minimum(measured[..., 0].min(axis=0), 0), np.maximum(measured[..., 1].max(axis=0), 0)
    for (low, high), smallest, largest in zip(ends.values(), lows, highs, strict=True):
        low.assign(smallest)
        high.assign(largest)
    settle(quantized)


def settle(quantized: tf_keras.Model) -> None:
    """Bring what follows from the weights up to date with them: their ranges, and clustered kernels.

    TF-MOT does it in calls with training=True only.
    """
    ends = [end for pair in _activation_ends(quantized).values() for end in pair]
    kept = [end.numpy() for end in ends]
    quantized(tf.zeros((1, *quantized.input_shape[1:])), training=True)
    for end, value in zip(ends, kept, strict=True):
        end.assign(value)


def _activation_ends(quantized: tf_keras.Model) -> dict[str, tuple[tf.Variable, tf.Variable]]:
    """Smallest and largest value that layers' activations may have, by the layer's name."""
    ends = {}
    for layer in quantized.layers:
        named = {_leaf(variable): variable for variable in layer.weights}
        for kind in _ACTIVATIONS:
            if f"{kind}_min" in named:
                ends[layer.name] = named[f"{kind}_min"], named[f"{kind}_max"]
    return ends


def ranges_of(quantized: tf_keras.Model) -> Weights:
    """Ranges of weights, float32 [channels], and activations, float32 scalars, as `encoder_quantization/LAYER/NAME`."""
    named = named_weights(_PREFIX, quantized)
    return {name: array for name, array in named.items() if name.endswith(("_min", "_max"))}


def _assign_ranges(quantized: tf_keras.Model, ranges: Mapping[str, NDArray[np.float32]]) -> None:
    present = ranges_of(quantized)
    if present.keys() != ranges.keys():
        name = min(present.keys() ^ ranges.keys())
        raise BundleError(f"weights: {name} belongs to another encoder, or is missing")
    for layer in quantized.layers:
        for variable in layer.weights:
            name = f"{_PREFIX}/{layer.name}/{_leaf(variable)}"
            if name in ranges:
                variable.assign(ranges[name])


def _leaf(variable: tf.Variable) -> str:
    return variable.name.split("/")[-1].split(":")[0]


def copy_weights(quantized: tf_keras.Model, encoder: tf_keras.Model) -> None:
    """Give the encoder the weights of its `quantized_copy`, before rounding."""
    assign_weights("encoder", encoder, named_weights("encoder", quantized))


def trained_copy(encoder: tf_keras.Model, ranges: Weights) -> tf_keras.Model:
    """A copy of an encoder that was trained for int8, which rounds as it was trained to (see `quantized_copy`).

    Args:
        encoder: its weights.
        ranges: as `ranges_of` gave them.

    Raises:
        BundleError: the ranges don't fit the encoder.
    """
    quantized = quantized_copy(encoder)
    _assign_ranges(quantized, ranges)
    return quantized


def export_trained_quantization(bundle: Bundle) -> bytes | None:
    """The int8 encoder of a float bundle whose encoder was trained for int8, with the ranges that it was trained with.

    No images are needed. Convert by `export_encoder`, with calibration, where this returns None.

    Returns:
        A LiteRT graph, int8 throughout: `pixels` int8 [batch, height, width, 3], levels less 128, to `features` float32
        [batch, L, channels]. None if the encoder was not trained for int8.

    Raises:
        BundleError: weights or ranges don't fit the bundle's architecture.
    """
    ranges = trained_ranges(bundle, "encoder")
    return export_quantized(trained_copy(load_model(bundle).encoder, ranges)) if ranges else None


def export_quantized(quantized: tf_keras.Model) -> bytes:
    """A `quantized_copy` as a LiteRT graph (see `export_trained_quantization`)."""
    pixels = tf.TensorSpec(quantized.input_shape, tf.float32, name="pixels")
    graph = as_graph(lambda pixels: {"features": quantized(pixels, training=False)}, [pixels])
    module = tf.Module()
    module.weights = quantized.weights  # a saved model must own the variables that its functions read
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=graph.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.int8
        return share_equal_buffers(converter.convert())

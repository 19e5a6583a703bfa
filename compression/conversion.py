"""Concrete functions to LiteRT graphs in one of the formats.

Quantization follows Jacob et al. 2018 (arXiv 1712.05877) as LiteRT's converter implements it. No graph needs operations
of TensorFlow; what a calibrated format can't express stays in float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tensorflow as tf
import tf_keras
from numpy.typing import NDArray
from tensorflow.lite.python.convert import mlir_quantize

from caption_core.errors import UsageError
from compression.kept_float import NOTHING_KEPT, KeptFloat, no_float_beside
from compression.settings.quantization import CALIBRATED, WHOLE, Format
from compression.shared_buffers import share_equal_buffers

Graph: TypeAlias = tf.types.experimental.ConcreteFunction

Sample: TypeAlias = Mapping[str, NDArray[Any]]
"""One run's inputs by name; the shapes of a graph's samples are equal."""

_OPERATIONS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """How a graph is converted.

    Attributes:
        format: of weights and activations.
        samples: what the ranges of activations are measured on; for calibrated formats.
        kept: layers that stay in float.
        level_input: a graph of one float32 input of levels of 0 to 255 gets one of int8, levels less 128; for int8.
        sparse: kernels of many zeros are stored as sparse tensors, which runtimes with sparse kernels use; for float32.
    """

    format: Format
    samples: Sequence[Sample] = ()
    kept: KeptFloat = NOTHING_KEPT
    level_input: bool = False
    sparse: bool = False


def convert(owner: tf_keras.Model, graph: Graph, conversion: Conversion) -> bytes:
    """Convert a graph.

    Args:
        owner: the model that owns the graph's variables.
        graph: its inputs and outputs keep their names as a signature.
        conversion: how.

    Raises:
        UsageError: the format can't keep layers in float.
    """
    kept = conversion.kept
    if kept and conversion.format in WHOLE:
        raise UsageError(no_float_beside(conversion.format))
    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(owner, graph, folder)
        if kept and conversion.format == "dynamic":
            return share_equal_buffers(_partly_dynamic(converter, kept))
        _set_format(converter, conversion)
        if kept and conversion.format == "int8":
            return share_equal_buffers(_partly_int8(converter, conversion))
        return share_equal_buffers(converter.convert())


def _converter(owner: tf_keras.Model, graph: Graph, folder: str) -> tf.lite.TFLiteConverter:
    module = tf.Module()
    module.weights = owner.weights  # a saved model must own the variables that its functions read
    tf.saved_model.save(module, folder, signatures=graph)
    return tf.lite.TFLiteConverter.from_saved_model(folder)


def _set_format(converter: tf.lite.TFLiteConverter, conversion: Conversion) -> None:
    chosen = conversion.format
    if chosen == "float32":
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY] if conversion.sparse else []
        return
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if chosen == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if chosen in CALIBRATED:
        converter.representative_dataset = lambda: iter(conversion.samples)
        # Integers only where pixels are integers too: a decoder's state and an encoder in int16 begin in float.
        others = [] if conversion.level_input and not conversion.kept else [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.target_spec.supported_ops = [_OPERATIONS[chosen], *others]
    if conversion.level_input and not conversion.kept:
        converter.inference_input_type = tf.int8


def _partly_int8(converter: tf.lite.TFLiteConverter, conversion: Conversion) -> bytes:
    # The converter takes no names of layers, but the quantization that it calls does, on a graph that has its ranges.
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    pixels = tf.int8 if conversion.level_input else tf.float32
    nodes = conversion.kept.nodes(calibrated)
    return bytes(mlir_quantize(calibrated, input_data_type=pixels, denylisted_nodes=nodes))


def _partly_dynamic(converter: tf.lite.TFLiteConverter, kept: KeptFloat) -> bytes:
    in_float = converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return kept.restore(converter.convert(), in_float)

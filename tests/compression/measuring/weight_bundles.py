"""Bundles of hand-made weights, which need not fit into any model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from caption_core.bundle import VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.models.weights import WEIGHTS, weights_bytes

Arrays = Mapping[str, NDArray[np.float32]]


def floats(values: Any) -> NDArray[np.float32]:
    """Numbers as an array."""
    return np.array(values, np.float32)


def float_bundle(like: Path, folder: Path, weights: Arrays) -> Bundle:
    """A float bundle of these weights, and otherwise as the bundle `like`."""
    return _bundle(like, folder, "tensorflow", {WEIGHTS: weights_bytes(dict(weights))})


def litert_bundle(like: Path, folder: Path, encoder: bytes, start: bytes, step: bytes) -> Bundle:
    """A LiteRT bundle of these graphs, and otherwise as the bundle `like`."""
    graphs = {"encoder.tflite": encoder, "decoder_start.tflite": start, "decoder_step.tflite": step}
    return _bundle(like, folder, "litert", graphs)


def _bundle(like: Path, folder: Path, runtime: str, files: Mapping[str, Path | bytes]) -> Bundle:
    parent = open_bundle(like)
    fields = parent.manifest.model_dump(mode="json", exclude={"files", "schema_version"}) | {"runtime": runtime}
    return write_bundle(folder, fields, {**files, VOCABULARY: parent.path(VOCABULARY)})


def dense_graph(kernel: NDArray[np.float32], bias: NDArray[np.float32], weights: str = "float32") -> bytes:
    """`x @ kernel + bias` as a LiteRT graph, of a layer named `dense`; its kernel in float32, float16 or int8."""
    layer = tf.Module()
    layer.kernel, layer.bias = tf.constant(kernel), tf.constant(bias)

    def product(x: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("dense"):
            return tf.nn.bias_add(tf.matmul(x, layer.kernel, name="MatMul"), layer.bias, name="BiasAdd")

    graph = tf.function(product, input_signature=[tf.TensorSpec((None, kernel.shape[0]), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph.get_concrete_function()], layer)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def as_int4(graph: bytes) -> bytes:
    """The graph with its int8 constants' lowest four bits only, two in a byte; it is read, never run."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    for tensor in model.subgraphs[0].tensors:
        data: Any = model.buffers[tensor.buffer].data
        if tensor.type == schema.TensorType.INT8 and data is not None:
            nibbles = np.asarray(data, np.uint8) & 15
            tensor.type = schema.TensorType.INT4
            model.buffers[tensor.buffer].data = nibbles[::2] | nibbles[1::2] << 4
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def renamed(graph: bytes, old: str, new: str) -> bytes:
    """The graph with `new` in place of `old` in its tensors' names, at least one of which has it."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(graph))
    having = [tensor for tensor in model.subgraphs[0].tensors if old.encode() in tensor.name]
    assert having
    for tensor in having:
        tensor.name = tensor.name.replace(old.encode(), new.encode())
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))

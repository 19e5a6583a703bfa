"""A captioning model to LiteRT graphs: an int8 encoder, and a decoder's start and step with int8 weights.

Quantization follows Jacob et al. 2018 (arXiv 1712.05877) as LiteRT's converter implements it: the encoder fully in
int8 with ranges calibrated on images; the decoder's matrices in int8 with activations quantized as they come
("dynamic range"), because a recurrent state's range is not known beforehand.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder import Decoder
from compression.shared_buffers import share_equal_buffers

_Graph: TypeAlias = tf.types.experimental.ConcreteFunction


def export_encoder(model: CaptioningModel, calibration: Iterable[NDArray[np.uint8]]) -> bytes:
    """Quantize the encoder fully to int8.

    Args:
        model: the float model.
        calibration: images uint8 [height, width, 3] that the activations' ranges are measured on; a few hundred of
            the kind that will be captioned.

    Returns:
        A LiteRT graph: `pixels` uint8 [batch, height, width, 3] to `features` float32 [batch, L, channels].
    """
    encoder = model.encoder
    pixels = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.float32, name="pixels")
    graph = tf.function(lambda pixels: {"features": encoder(pixels, training=False)}, input_signature=[pixels])
    with tempfile.TemporaryDirectory() as folder:
        converter = _converter(encoder, graph.get_concrete_function(), folder)
        converter.representative_dataset = lambda: ({"pixels": image[None].astype(np.float32)} for image in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        return share_equal_buffers(converter.convert())


def export_decoder(model: CaptioningModel) -> tuple[bytes, bytes]:
    """Export the decoder's `start` and `step` with int8 matrices.

    Returns:
        Two LiteRT graphs, whose inputs and outputs bear the names of the decoder's state and memory.
        Start: `features` [B, L, channels] to the first state, each array [B, 1, ...], and the image's memory [B, ...].
        Step: `tokens` int32 [B, K], state [B, K, ...] and memory to `logits` [B, K, V] and the state as `next_NAME`.
    """
    return _dynamic_range(model, _start(model)), _export_step(model)


def _export_step(model: CaptioningModel) -> bytes:
    """The step's graph, whose embedding and the output layer that is tied to it share one int8 table.

    The converter quantizes the output layer by itself. It arrives at this very table because it is given weights that
    the table represents exactly: rounding has no ties left to break its own way.
    """
    embedding = model.decoder.embedding
    original = embedding.numpy()
    table, scales = quantize_rows(original)
    embedding.assign(table * scales)
    try:
        return _dynamic_range(model, _step(model.decoder, table, scales))
    finally:
        embedding.assign(original)


def _dynamic_range(model: CaptioningModel, graph: _Graph) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return share_equal_buffers(_converter(model.decoder, graph, folder).convert())


def _start(model: CaptioningModel) -> _Graph:
    decoder, locations = model.decoder, model.encoder.output_shape[1]

    @tf.function(input_signature=[tf.TensorSpec((None, locations, decoder.config.feature_channels), name="features")])
    def start(features: tf.Tensor) -> dict[str, tf.Tensor]:
        state, memory = decoder.start(features)
        named = zip((*decoder.state_shapes, *decoder.memory_shapes), (*state, *memory), strict=True)
        return dict(named)

    return start.get_concrete_function()


def _step(decoder: Decoder, embedding: NDArray[np.int8], scales: NDArray[np.float32]) -> _Graph:
    shapes = {**decoder.state_shapes, **decoder.memory_shapes}
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}

    @tf.function
    def step(tokens: tf.Tensor, **arrays: tf.Tensor) -> dict[str, tf.Tensor]:
        # The converter leaves a gathered table in float; int8 rows with a scale each are a quarter of its size.
        words = tf.cast(tf.gather(tf.constant(embedding), tokens), tf.float32) * tf.gather(tf.constant(scales), tokens)
        state = tuple(arrays[name] for name in decoder.state_shapes)
        memory = tuple(arrays[name] for name in decoder.memory_shapes)
        logits, state = decoder.step_from_embedding(words, state, memory)
        following = zip(decoder.state_shapes, state, strict=True)
        return {"logits": logits, **{f"next_{name}": part for name, part in following}}

    return step.get_concrete_function(tf.TensorSpec((None, None), tf.int32, name="tokens"), **specs)


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with a scale a row: (int8 [rows, columns], scales float32 [rows, 1]); table = int8 * scale."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / np.float32(127), np.finfo(np.float32).tiny)
    return np.round(table / scales).astype(np.int8), scales


def _converter(owner: tf_keras.Model, graph: _Graph, folder: str) -> tf.lite.TFLiteConverter:
    """A converter of `graph`, whose inputs and outputs keep their names as a signature."""
    module = tf.Module()
    module.weights = owner.weights  # a saved model must own the variables that its functions read
    tf.saved_model.save(module, folder, signatures=graph)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter

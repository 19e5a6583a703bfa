"""A captioning model to LiteRT graphs: an encoder, and a decoder's start and step.

What a calibrated format needs to see is in `calibration.py`; the formats are in `conversion.py`. A decoder's usual one
is `dynamic`: a recurrent state's range is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder import Decoder
from caption_core.models.tracing import as_graph
from compression.calibration import step_samples
from compression.conversion import Conversion, Graph, convert
from compression.kept_float import NOTHING_KEPT, KeptFloat
from compression.settings.quantization import CALIBRATED, Format
from compression.sparse_inference import can_run_sparse, mirrored
from compression.static_shapes import static_products

_IN_FLOAT: frozenset[Format] = frozenset({"float32", "float16"})


def export_encoder(
    model: CaptioningModel,
    calibration: Iterable[NDArray[np.uint8]] = (),
    chosen: Format = "int8",
    kept: KeptFloat = NOTHING_KEPT,
) -> bytes:
    """Convert the encoder.

    In float32 an encoder whose zeros XNNPACK can skip becomes its mirrored twin with sparse tensors. On processors for
    which there are no such kernels they are expanded when the graph is loaded.

    Args:
        model: the float model.
        calibration: images uint8 [height, width, 3] that the activations' ranges are measured on where the format is
            calibrated; a few hundred of the kind that will be captioned.
        chosen: the format.
        kept: layers that stay in float.

    Returns:
        A LiteRT graph: `pixels` uint8 [batch, height, width, 3], of an int8 graph int8, levels less 128, to `features`
        float32 [batch, L, channels].

    Raises:
        UsageError: the format can't keep layers in float.
    """
    encoder, is_int8 = model.encoder, chosen == "int8"
    sparse = chosen == "float32" and can_run_sparse(encoder)
    if sparse:
        encoder = mirrored(encoder)
    pixels = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.float32 if is_int8 else tf.uint8, name="pixels")
    graph = as_graph(lambda pixels: {"features": encoder(tf.cast(pixels, tf.float32), training=False)}, [pixels])
    samples = [{"pixels": image[None].astype(pixels.dtype.as_numpy_dtype)} for image in calibration]
    conversion = Conversion(chosen, samples, kept, level_input=is_int8, sparse=sparse)
    return convert(encoder, graph.get_concrete_function(), conversion)


def export_decoder(
    model: CaptioningModel,
    chosen: Format = "dynamic",
    features: Sequence[NDArray[np.float32]] = (),
    kept: KeptFloat = NOTHING_KEPT,
    max_tokens: int = 20,
) -> tuple[bytes, bytes]:
    """Convert the decoder's `start` and `step`.

    Args:
        model: the float model.
        chosen: the format.
        features: float32 [L, channels] of images, where the format is calibrated: `start` is calibrated on them, and
            `step` on what it meets while the float model captions them.
        kept: layers that stay in float.
        max_tokens: words of the longest caption of these.

    Returns:
        Two LiteRT graphs, whose inputs and outputs bear the names of the decoder's state and memory.
        Start: `features` [B, L, channels] to the first state, each array [B, 1, ...], and the image's memory [B, ...].
        Step: `tokens` int32 [B, K], state [B, K, ...] and memory to `logits` [B, K, V] and the state as `next_NAME`.

    Raises:
        UsageError: the format can't keep layers in float.
    """
    first = [{"features": rows[None]} for rows in features]
    steps = step_samples(model.decoder, np.stack(features), max_tokens) if features else []
    start = convert(model.decoder, _start(model), Conversion(chosen, first, kept))
    # Of the step alone: the start runs once an image and gains little, and AoANet's is rounded otherwise with them.
    with static_products(model.decoder):
        return start, _export_step(model, Conversion(chosen, steps, kept))


def _export_step(model: CaptioningModel, conversion: Conversion) -> bytes:
    """The step's graph, whose embedding and the output layer that is tied to it share one table.

    Where that is int8, the converter quantizes the output layer by itself. It arrives at this very table because it is
    given weights that the table represents exactly: rounding has no ties left to break its own way.
    """
    decoder, embedding = model.decoder, model.decoder.embedding
    if conversion.format in _IN_FLOAT or conversion.kept.table is not None:
        return convert(decoder, _step(decoder), conversion)
    original = embedding.numpy()
    table, scales = quantize_rows(original)
    embedding.assign(table * scales)
    try:
        graph = _step(decoder, table, scales, is_calibrated=conversion.format in CALIBRATED)
        return convert(decoder, graph, conversion)
    finally:
        embedding.assign(original)


def _start(model: CaptioningModel) -> Graph:
    decoder, locations = model.decoder, model.encoder.output_shape[1]

    rows = tf.TensorSpec((None, locations, decoder.config.feature_channels), name="features")

    def start(features: tf.Tensor) -> dict[str, tf.Tensor]:
        state, memory = decoder.start(features)
        named = zip((*decoder.state_shapes, *decoder.memory_shapes), (*state, *memory), strict=True)
        return dict(named)

    return as_graph(start, [rows]).get_concrete_function()


def _step(
    decoder: Decoder,
    table: NDArray[np.int8] | None = None,
    scales: NDArray[np.float32] | None = None,
    *,
    is_calibrated: bool = False,
) -> Graph:
    shapes = {**decoder.state_shapes, **decoder.memory_shapes}
    specs = {name: tf.TensorSpec(shape, tf.float32, name=name) for name, shape in shapes.items()}

    def embedded(tokens: tf.Tensor) -> tf.Tensor:
        if table is None or scales is None:
            return tf.gather(decoder.embedding, tokens)
        # The converter would give a gathered table one scale; the output layer that shares it has one a word.
        rows = tf.cast(tf.gather(tf.constant(table), tokens), tf.float32)
        if is_calibrated:
            return rows * tf.gather(tf.constant(scales), tokens)
        # Scales as integers, for it would round a long table of floats to int8 with one scale for all.
        multiples, unit = as_multiples(scales)
        return rows * (tf.cast(tf.gather(tf.constant(multiples), tokens), tf.float32) * unit)

    def step(tokens: tf.Tensor, **arrays: tf.Tensor) -> dict[str, tf.Tensor]:
        state = tuple(arrays[name] for name in decoder.state_shapes)
        memory = tuple(arrays[name] for name in decoder.memory_shapes)
        logits, state = decoder.step_from_embedding(embedded(tokens), state, memory)
        following = zip(decoder.state_shapes, state, strict=True)
        return {"logits": logits, **{f"next_{name}": part for name, part in following}}

    return as_graph(step).get_concrete_function(tf.TensorSpec((None, None), tf.int32, name="tokens"), **specs)


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with a scale a row: (int8 [rows, columns], scales float32 [rows, 1]); table = int8 * scale."""
    scales = np.maximum(np.abs(table).max(axis=1, keepdims=True) / np.float32(127), np.finfo(np.float32).tiny)
    return np.round(table / scales).astype(np.int8), scales


def as_multiples(scales: NDArray[np.float32]) -> tuple[NDArray[np.int32], np.float32]:
    """Positive numbers as multiples of a common unit: int32 of their shape, and the unit."""
    unit = np.float32(scales.max() / 2**24)  # all integers up to there are float32, too
    return np.round(scales / unit).astype(np.int32), unit

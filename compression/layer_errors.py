"""What rounding one layer alone does to a part's output: which layers to keep in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.models.captioning import CaptioningModel
from caption_core.models.tracing import as_graph
from compression.calibration import greedy_captions
from compression.changed_calls import Change, changed_calls
from compression.places import Place, quantized_places, replaced
from compression.products import channel_axes, is_rounded_dynamically, product_inputs
from compression.rounding import rounded_channels, rounded_images, rounded_rows, rounded_whole
from compression.settings.fields import Part
from compression.settings.quantization import Format

_CAPTION_TOKENS = 12
_NO_LAYER = -1
_SMALLEST_OUTPUT = 1e-30


@dataclass(frozen=True, slots=True)
class LayerError:
    """A weight matrix, and what rounding it and what it is multiplied by does, all else being in float.

    Attributes:
        name: as in weights files.
        part: `encoder` or `decoder`.
        error: root mean square of the change of the part's output (features, or logits along greedy captions) over
            that of the output.
    """

    name: str
    part: Part
    error: float


def layer_errors(
    model: CaptioningModel,
    images: Sequence[NDArray[np.uint8]],
    features: NDArray[np.float32],
    formats: Mapping[Part, Format],
) -> list[LayerError]:
    """Errors of the layers of the parts that have a format other than float32, one layer at a time.

    Every layer's rounding is simulated in the float model: its weights', and its inputs' where the format has them in
    int8. Of a calibrated format the inputs' range is that of the very batch. Rounding of int16 is far below that of the
    weights and left out. A format that leaves a matrix in float has no error there.

    Args:
        model: the float model.
        images: a handful, uint8 [height, width, 3] each.
        features: float32 [images, L, channels], what the decoder gets to see of them.
        formats: of the parts.
    """
    errors: list[LayerError] = []
    if formats.get("encoder", "float32") != "float32":
        pixels = tf.constant(np.stack(images).astype(np.float32))
        places = quantized_places(model, "encoder")
        errors += _errors(places, "encoder", formats["encoder"], lambda: model.encoder(pixels, training=False))
    if formats.get("decoder", "float32") != "float32":
        places = quantized_places(model, "decoder")
        errors += _errors(places, "decoder", formats["decoder"], _decoding(model, features))
    return errors


def _decoding(model: CaptioningModel, features: NDArray[np.float32]) -> Callable[[], tf.Tensor]:
    tokens = tf.constant(greedy_captions(model.decoder, features, _CAPTION_TOKENS))
    rows = tf.constant(features)

    def logits() -> tf.Tensor:
        hidden = model.decoder.unroll(rows, tokens)
        # In two dimensions: of four, with one caption an image, oneDNN's product in TensorFlow 2.21 overruns memory.
        return model.decoder.logits(tf.reshape(hidden, (-1, tf.shape(hidden)[-1])))

    return logits


def _errors(places: Sequence[Place], part: Part, chosen: Format, output: Callable[[], tf.Tensor]) -> list[LayerError]:
    run = _one_rounded(places, chosen, output)
    exact = run(tf.constant(_NO_LAYER))
    scale = max(_rms(exact), _SMALLEST_OUTPUT)
    found = [(place, _rms(run(tf.constant(index)) - exact) / scale) for index, place in enumerate(places)]
    return [LayerError(place.name, part, error) for place, error in found]


def _rms(values: tf.Tensor) -> float:
    return float(tf.sqrt(tf.reduce_mean(tf.square(values))))


def _one_rounded(
    places: Sequence[Place], chosen: Format, output: Callable[[], tf.Tensor]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function of a layer's number to the output with that layer rounded; it is traced once for all of them."""

    def run(chosen_layer: tf.Tensor) -> tf.Tensor:
        def only(index: int, change: Change) -> Change:
            return lambda values: tf.cond(chosen_layer == index, lambda: change(values), lambda: values)

        values, calls = {}, []
        for index, place in enumerate(places):
            weights = _weights_change(place, chosen)
            values[place.name] = only(index, weights)(tf.convert_to_tensor(place.variable))
            inputs = _inputs_change(place, chosen)
            if inputs is not None:
                calls += product_inputs(place, only(index, inputs))
        with replaced(values, places), changed_calls(calls):
            return output()

    return as_graph(run, [tf.TensorSpec((), tf.int32)])


def _weights_change(place: Place, chosen: Format) -> Change:
    if chosen == "float16":
        return lambda weights: tf.cast(tf.cast(weights, tf.float16), tf.float32)
    if _stays_float(place, chosen):
        return tf.identity
    return lambda weights: rounded_channels(weights, channel_axes(place))


def _inputs_change(place: Place, chosen: Format) -> Change | None:
    if chosen == "int8":
        return rounded_whole
    if chosen != "dynamic" or _stays_float(place, chosen):
        return None
    return rounded_rows if len(place.variable.shape) == 2 else rounded_images


def _stays_float(place: Place, chosen: Format) -> bool:
    return chosen == "dynamic" and not is_rounded_dynamically(place)

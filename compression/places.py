"""A model's weight matrices by name, and other values in their place while a function is traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from compression.settings.fields import Part

# Their kernels by attribute. A depthwise kernel is few weights and hard to do without: not pruned or clustered.
_KERNELS = {tf_keras.layers.Dense: "kernel", tf_keras.layers.Conv2D: "kernel"}


@dataclass(frozen=True, slots=True)
class Place:
    """A weight matrix and the object that reads it.

    Attributes:
        name: as in weights files, e.g. `decoder/gates_from_h/kernel`.
        owner: the layer, or the decoder itself.
        attribute: under which the owner reads it.
        variable: float32: a Dense kernel [in, out], a convolution's [height, width, in, out], or the word embedding
            [V, embedding_units].
    """

    name: str
    owner: Any
    attribute: str
    variable: tf.Variable


def places_of(model: CaptioningModel, part: Part, layers: Sequence[str] | None = None) -> list[Place]:
    """The matrices of a part that compression works on: kernels of dense and convolution layers, the word embedding.

    Args:
        layers: keeps those whose name holds one of these; None keeps all.
    """
    owner = model.encoder if part == "encoder" else model.decoder
    places = [
        Place(f"{part}/{layer.name}/{attribute}", layer, attribute, getattr(layer, attribute))
        for layer in owner.layers
        for kind, attribute in _KERNELS.items()
        if isinstance(layer, kind) and not isinstance(layer, tf_keras.layers.DepthwiseConv2D)
    ]
    if part == "decoder":
        places.append(Place("decoder/embedding", owner, "embedding", owner.embedding))
    return [place for place in places if layers is None or any(text in place.name for text in layers)]


def quantized_places(model: CaptioningModel, part: Part) -> list[Place]:
    """The matrices that quantization rounds: `places_of`, and depthwise kernels [height, width, channels, 1]."""
    depthwise = [
        Place(f"{part}/{layer.name}/depthwise_kernel", layer, "depthwise_kernel", layer.depthwise_kernel)
        for layer in (model.encoder.layers if part == "encoder" else ())
        if isinstance(layer, tf_keras.layers.DepthwiseConv2D)
    ]
    return places_of(model, part) + depthwise


def chosen_places(model: CaptioningModel, part: Part, layers: Sequence[str] | None) -> list[Place]:
    """`places_of`, where each text of `layers` has to be found.

    Raises:
        UsageError: no matrix' name holds one of the texts, or there are no texts.
    """
    places = places_of(model, part, layers)
    for text in layers or ():
        if not any(text in place.name for place in places):
            raise UsageError(f"layers: no weight matrix of the {part} has {text!r} in its name")
    if not places:
        raise UsageError(f"layers: no weight matrix of the {part} is chosen")
    return places


@contextmanager
def replaced(values: Mapping[str, tf.Tensor], places: Sequence[Place]) -> Iterator[None]:
    """Let the owners of `places` read `values` (by place name) in place of their variables.

    For the tracing of a graph: what is traced meanwhile is differentiable with respect to what the values came from.
    """
    # Past Keras' own __setattr__, which would drop the variable from the layer's weights.
    for place in places:
        if place.name in values:
            place.owner.__dict__[place.attribute] = values[place.name]
    try:
        yield
    finally:
        for place in places:
            place.owner.__dict__[place.attribute] = place.variable

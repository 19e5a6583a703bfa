"""What LiteRT's quantized products round of a weight matrix and of what it is multiplied by."""

from __future__ import annotations

import tf_keras

from caption_core.models.decoder import Decoder
from compression.changed_calls import Change, ChangedCall
from compression.places import Place

# The converter leaves smaller matrices in float where activations are quantized as they come.
_MIN_ELEMENTS = 1024


def channel_axes(place: Place) -> tuple[int, ...]:
    """Axes of a matrix along which a scale is shared: all but the output channels, or an embedding's words."""
    if isinstance(place.owner, Decoder):
        return (1,)
    if isinstance(place.owner, tf_keras.layers.DepthwiseConv2D):
        return (0, 1)
    return tuple(range(len(place.variable.shape) - 1))


def is_rounded_dynamically(place: Place) -> bool:
    """Whether the format `dynamic` rounds a matrix. The word embedding's rows are rounded by the export itself."""
    return isinstance(place.owner, Decoder) or place.variable.shape.num_elements() >= _MIN_ELEMENTS


def product_inputs(place: Place, change: Change) -> list[ChangedCall]:
    """The calls that change what a matrix is multiplied by.

    A word embedding is multiplied by something where the output layer is tied to it.
    """
    if not isinstance(place.owner, Decoder):
        return [ChangedCall(place.owner, "call", before=change)]
    decoder = place.owner
    if not hasattr(decoder, "output_bias"):
        return []
    projection = getattr(decoder, "output_projection", None)
    if projection is None:
        return [ChangedCall(decoder, "project", before=change)]
    # The converter takes the projection's bias through the product that follows: what is rounded is without it.
    return [ChangedCall(projection, "call", after=lambda made: change(made - projection.bias) + projection.bias)]

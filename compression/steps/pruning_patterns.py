"""Patterns of zeros: how TF-MOT has to see a weight matrix for them, and what its masks mean for the matrix."""

from __future__ import annotations

from typing import Protocol

import tensorflow as tf

from caption_core.errors import UsageError
from compression.places import Place
from compression.settings.pruning import Magnitude


class Pattern(Protocol):
    """One matrix, as TF-MOT sees it."""

    def view(self, weights: tf.Tensor) -> tf.Tensor:
        """What TF-MOT computes a mask of, float32, for weights of the matrix' shape."""

    def mask(self, mask: tf.Tensor) -> tf.Tensor:
        """Its mask, float32 of the view's shape, in the matrix' shape."""


class SingleWeights:
    """Each weight for itself.

    Where many weights have the same magnitude, as in encoders that come from int8 releases, TF-MOT's threshold would
    keep all of them. Therefore it sees their ranks, float32 [elements], which are exact up to 2^24 elements.
    """

    def __init__(self, place: Place, step: Magnitude) -> None:
        del step
        self._shape = place.variable.shape

    def view(self, weights: tf.Tensor) -> tf.Tensor:
        """See `Pattern`."""
        order = tf.argsort(tf.reshape(tf.abs(weights), [-1]), stable=True)
        return tf.cast(tf.argsort(order) + 1, tf.float32)

    def mask(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Pattern`."""
        return tf.reshape(mask, self._shape)


class Blocks:
    """Blocks of neighbours by their mean magnitude, of a matrix [in, out] or a convolution of 1x1.

    The view is filled up to whole blocks with its own edge mirrored: TF-MOT would pool other elements than it masks.

    Raises:
        UsageError: the kernel is larger than 1x1, or has less than two blocks on a side, of which TF-MOT makes nothing.
    """

    def __init__(self, place: Place, step: Magnitude) -> None:
        self._shape = place.variable.shape
        self._sides = tuple(self._shape[-2:])
        if self._shape.num_elements() != self._sides[0] * self._sides[1]:
            kernel = "x".join(map(str, self._shape[:-2]))
            raise UsageError(f"{place.name}: blocks need a matrix or a convolution of 1x1, not one of {kernel}")
        if any(side <= length for side, length in zip(self._sides, step.block, strict=True)):
            sides, block = "x".join(map(str, self._sides)), "x".join(map(str, step.block))
            raise UsageError(f"{place.name}: blocks of {block} are too large for a matrix of {sides}")
        self._missing = [(0, -side % length) for side, length in zip(self._sides, step.block, strict=True)]

    def view(self, weights: tf.Tensor) -> tf.Tensor:
        """See `Pattern`: [in, out], each a multiple of the block's side."""
        return tf.pad(tf.reshape(weights, self._sides), self._missing, "SYMMETRIC")

    def mask(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Pattern`."""
        return tf.reshape(mask[: self._sides[0], : self._sides[1]], self._shape)


class Neighbours:
    """Some zeros among so many neighbouring inputs: the order in which LiteRT holds a matrix.

    The word embedding is read by its rows, of which each is a word's: there neighbours are units of a word's vector.
    A rest of inputs that is no whole group has at most as many nonzeros as a group.
    """

    def __init__(self, place: Place, step: Magnitude) -> None:
        del step
        self._transposed = place.attribute == "embedding"

    def view(self, weights: tf.Tensor) -> tf.Tensor:
        """See `Pattern`: [in, out] or [height, width, in, out]."""
        return tf.transpose(weights) if self._transposed else tf.convert_to_tensor(weights)

    def mask(self, mask: tf.Tensor) -> tf.Tensor:
        """See `Pattern`."""
        return tf.transpose(mask) if self._transposed else tf.convert_to_tensor(mask)


PATTERNS: dict[str, type[SingleWeights] | type[Blocks] | type[Neighbours]] = {
    "unstructured": SingleWeights,
    "block": Blocks,
    "m_by_n": Neighbours,
}

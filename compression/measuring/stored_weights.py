"""A bundle's weights as they are stored: float arrays, or the constants of LiteRT graphs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from caption_core.bundle import Bundle
from caption_core.errors import BundleError
from compression.settings.fields import PARTS, Part

PART_FILES: dict[Part, tuple[str, ...]] = {
    "encoder": ("encoder.tflite",),
    "decoder": ("decoder_start.tflite", "decoder_step.tflite"),
}
"""The graphs of a LiteRT bundle's parts."""

FLOAT_WEIGHTS = "weights.safetensors"
"""Both parts of a float bundle."""


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """A weight, in the numbers that are stored.

    Attributes:
        name: as in float bundles, e.g. `decoder/gates_from_h/kernel`; for a LiteRT constant that can't be traced back,
            its part and the graph's own name for it.
        part: whose it is.
        values: any shape, zero for zero; LiteRT's integers without their scales.
        elements: of the weight; more than `values` has where only a sparse tensor's blocks are stored.
    """

    name: str
    part: Part
    values: NDArray[Any]
    elements: int

    @property
    def is_matrix(self) -> bool:
        """At least two of its sides are longer than one: kernels and embeddings, no biases."""
        return sum(side > 1 for side in self.values.shape) > 1 or self.elements > self.values.size

    @property
    def nonzeros(self) -> int:
        """Values that are not zero."""
        return int(np.count_nonzero(self.values))

    @property
    def distinct_values(self) -> int:
        """How many different values there are; zero is one of them where a sparse tensor leaves its zeros out."""
        values = np.unique(self.values)
        return int(values.size + (self.elements > self.values.size and not (values == 0).any()))


def stored_weights(bundle: Bundle) -> list[StoredWeight]:
    """The weights of both parts; arrays that a float bundle has beside its model are left out.

    Raises:
        BundleError: a file of weights can't be read.
    """
    if bundle.manifest.runtime == "tensorflow":
        return [_float_weight(name, values) for name, values in float_tensors(bundle).items() if _part_of(name)]
    # Imported late: it loads TensorFlow, which a float bundle's arrays don't need.
    from compression.measuring.litert_constants import litert_weights

    return [weight for part in PARTS for weight in litert_weights(bundle, part, PART_FILES[part])]


def float_tensors(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """All arrays of a float bundle, by name.

    Raises:
        BundleError: they can't be read.
    """
    try:
        return load(bundle.read(FLOAT_WEIGHTS))
    except SafetensorError as error:
        raise BundleError(f"{bundle.folder}: {FLOAT_WEIGHTS}: not a weights file: {error}") from error


def tensors_of(tensors: dict[str, NDArray[Any]], part: Part) -> Iterator[NDArray[Any]]:
    """A part's arrays."""
    return (values for name, values in tensors.items() if _part_of(name) == part)


def _part_of(name: str) -> Part | None:
    return next((part for part in PARTS if name.startswith(f"{part}/")), None)


def _float_weight(name: str, values: NDArray[Any]) -> StoredWeight:
    part = _part_of(name)
    assert part is not None
    return StoredWeight(name, part, values, values.size)

"""A captioner's weight matrices, one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from caption_core.bundle import Bundle
from compression.measurement import Layer
from compression.measuring.stored_weights import StoredWeight, stored_weights
from compression.settings.fields import PARTS


def measure_layers(bundle: Bundle, errors: Mapping[str, float] = MappingProxyType({})) -> tuple[Layer, ...]:
    """Sparsity and distinct values of each matrix: the encoder's, then the decoder's, each by name.

    Args:
        bundle: float or LiteRT.
        errors: of layers by name, where they have been measured (see `Layer`).

    Raises:
        BundleError: a file of weights can't be read.
    """
    layers = [_layer(weight, errors) for weight in stored_weights(bundle) if weight.is_matrix]
    return tuple(sorted(layers, key=lambda layer: (PARTS.index(layer.part), _natural(layer.name))))


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that puts `block_2` before `block_10`."""
    return [(int(digits or 0), text) for text, digits in re.findall(r"(\D+)(\d*)", name)]


def _layer(weight: StoredWeight, errors: Mapping[str, float]) -> Layer:
    return Layer(
        name=weight.name,
        part=weight.part,
        elements=weight.elements,
        sparsity=1 - weight.nonzeros / weight.elements,
        distinct_values=weight.distinct_values,
        error=errors.get(weight.name),
    )

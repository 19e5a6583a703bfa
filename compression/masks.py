"""Which weights are zero: masks from scores, their application, and what became of each matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compression.places import Place
from compression.settings.pruning import Ranking

Masks = dict[str, NDArray[np.bool_]]
"""By place name, of the matrix' shape; False where an element is left out."""

# Stands for the deviation of a matrix whose elements are all the same.
_SMALLEST_DEVIATION = 1e-12


def global_masks(scores: Mapping[str, NDArray[np.floating[Any]]], sparsity: float) -> Masks:
    """Masks that leave out the lowest scores of all matrices together.

    Args:
        scores: by place name, of the matrices' shapes.
        sparsity: share of all elements that is left out: exactly `round(sparsity * elements)` of them. Of equal scores
            the first ones, in the mapping's order and each matrix' row-major order, are left out.
    """
    flat = np.concatenate([np.ravel(score) for score in scores.values()])
    kept = np.ones(flat.size, np.bool_)
    kept[np.argsort(flat, kind="stable")[: round(sparsity * flat.size)]] = False
    ends = np.cumsum([score.size for score in scores.values()])
    parts = np.split(kept, ends[:-1])
    return {name: part.reshape(score.shape) for (name, score), part in zip(scores.items(), parts, strict=True)}


def apply_masks(places: Sequence[Place], masks: Mapping[str, NDArray[np.bool_]]) -> None:
    """Set to zero what `masks`, by place name, leave out; a place without a mask stays as it is."""
    for place in places:
        if place.name in masks:
            # Not a product: it would leave negative zeros, which are stored as other bytes.
            place.variable.assign(np.where(masks[place.name], place.variable.numpy(), np.float32(0.0)))


def magnitudes(places: Sequence[Place]) -> dict[str, NDArray[np.float32]]:
    """Absolute values of the places' weights, by place name."""
    return {place.name: np.abs(place.variable.numpy()) for place in places}


def magnitude_masks(places: Sequence[Place], sparsity: float, method: Ranking) -> Masks:
    """Masks that leave out the smallest weights; zeros that are there already count towards the sparsity.

    Args:
        places: the weights.
        sparsity: share that is left out, of each matrix or of all (see `Ranking`).
        method: which magnitudes are compared.
    """
    scores = magnitudes(places)
    if method == "uniform":
        return {name: global_masks({name: score}, sparsity)[name] for name, score in scores.items()}
    if method == "distribution":
        deviations = {place.name: float(np.std(place.variable.numpy())) for place in places}
        scores = {name: score / max(deviations[name], _SMALLEST_DEVIATION) for name, score in scores.items()}
    return global_masks(scores, sparsity)


def sparsity_of(places: Sequence[Place]) -> float:
    """Share of the places' elements that are zero."""
    elements = sum(place.variable.shape.num_elements() for place in places)
    return sum(_zeros(place) for place in places) / max(1, elements)


def sparsity_figures(places: Sequence[Place]) -> dict[str, Any]:
    """For a step's record: the places' `sparsity`, and name, elements and sparsity of each as `layer_sparsities`."""
    layers = [
        {
            "name": place.name,
            "elements": place.variable.shape.num_elements(),
            "sparsity": round(_zeros(place) / max(1, place.variable.shape.num_elements()), 6),
        }
        for place in places
    ]
    return {"sparsity": sparsity_of(places), "layer_sparsities": layers}


def _zeros(place: Place) -> int:
    return int(np.count_nonzero(place.variable.numpy() == 0))

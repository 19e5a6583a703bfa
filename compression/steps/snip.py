"""Pruning by connection sensitivity (Lee et al. 2019, arXiv 1810.02340), then training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.masks import apply_masks, global_masks, sparsity_figures
from compression.places import Place
from compression.settings.pruning import Snip
from compression.trained_places import begin


def apply(step: Snip, context: StepContext) -> Bundle:
    """Zero the weights that the loss is least sensitive to, and train the others.

    Only weights that train have gradients. Matrices of the encoder before `training.encoder_from` are pruned by
    magnitude, before their features are computed.

    Raises:
        UsageError: no data to train on, `layers` choose none of the matrices, or none of those trains.
    """
    model, trained, frozen = begin(step, context)
    tuner = Tuner(context, model, step.training)
    scores = sensitivities(trained, tuner.variables, tuner.gradients(step.batches))
    apply_masks(trained, global_masks(scores, step.sparsity))
    history = Tuner(context, model, step.training).run()  # another, for a tuner keeps the zeros it was made with
    bundle = write_float_child(context, step, model, did=f"{step.part} to {step.sparsity:.1%} zeros by sensitivity")
    figures = sparsity_figures(frozen + trained) | {"pruned_at_once": [place.name for place in frozen]}
    record_step(context, step, history=history, **figures)
    return bundle


def sensitivities(
    places: Sequence[Place], variables: Sequence[tf.Variable], gradients: Iterable[Sequence[tf.Tensor]]
) -> dict[str, NDArray[np.float64]]:
    """|weight * gradient| of every element, summed over batches.

    Args:
        places: the weights.
        variables: what the gradients are of; all places' variables are among them.
        gradients: of each batch, in the order of `variables`.

    Returns:
        By place name, of the matrix' shape.
    """
    numbers = {id(variable): number for number, variable in enumerate(variables)}
    weights = {place.name: place.variable.numpy() for place in places}
    totals = {name: np.zeros(weight.shape) for name, weight in weights.items()}
    for batch in gradients:
        for place in places:
            gradient = batch[numbers[id(place.variable)]].numpy()
            totals[place.name] += np.abs(weights[place.name] * gradient)
    return totals

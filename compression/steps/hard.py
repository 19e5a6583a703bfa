"""One-shot magnitude pruning (See et al. 2016, arXiv 1606.09274)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caption_core.bundle import Bundle
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.masks import Masks, apply_masks, global_masks, magnitudes, sparsity_figures, sparsity_of
from compression.places import Place, chosen_places
from compression.settings.pruning import Hard

# Stands for the deviation of a matrix whose elements are all the same.
_SMALLEST_DEVIATION = 1e-12


def apply(step: Hard, context: StepContext) -> Bundle:
    """Set the smallest weights of a trained model to zero, and train what is left where that is asked for.

    Raises:
        UsageError: `layers` choose none of the part's matrices, or the training has no data.
    """
    model = load_model(context.parent)
    places = chosen_places(model, step.part, step.layers)
    before = sparsity_of(places)
    apply_masks(places, hard_masks(places, step))
    history = [] if step.training is None else Tuner(context, model, step.training).run()
    did = f"{step.part} to {step.sparsity:.1%} zeros by magnitude, {step.method}"
    bundle = write_float_child(context, step, model, did=did)
    record_step(context, step, history=history, sparsity_before=before, **sparsity_figures(places))
    return bundle


def hard_masks(places: Sequence[Place], step: Hard) -> Masks:
    """What the step's method leaves of the places; zeros that are there already count towards the sparsity.

    Ranks elements by how many standard deviations of their matrix they lie from zero where the method is
    `distribution`: leaving out the first of that order is one threshold for all, in that unit.
    """
    scores = magnitudes(places)
    if step.method == "uniform":
        return {name: global_masks({name: score}, step.sparsity)[name] for name, score in scores.items()}
    if step.method == "distribution":
        deviations = {place.name: float(np.std(place.variable.numpy())) for place in places}
        scores = {name: score / max(deviations[name], _SMALLEST_DEVIATION) for name, score in scores.items()}
    return global_masks(scores, step.sparsity)

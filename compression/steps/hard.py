"""One-shot magnitude pruning (See et al. 2016, arXiv 1606.09274)."""

from __future__ import annotations

from caption_core.bundle import Bundle
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.masks import apply_masks, magnitude_masks, sparsity_figures, sparsity_of
from compression.places import chosen_places
from compression.settings.pruning import Hard


def apply(step: Hard, context: StepContext) -> Bundle:
    """Set the smallest weights of a trained model to zero, and train what is left where that is asked for.

    Raises:
        UsageError: `layers` choose none of the part's matrices, or the training has no data.
    """
    model = load_model(context.parent)
    places = chosen_places(model, step.part, step.layers)
    before = sparsity_of(places)
    apply_masks(places, magnitude_masks(places, step.sparsity, step.method))
    history = [] if step.training is None else Tuner(context, model, step.training).run()
    did = f"{step.part} to {step.sparsity:.1%} zeros by magnitude, {step.method}"
    bundle = write_float_child(context, step, model, did=did)
    record_step(context, step, history=history, sparsity_before=before, **sparsity_figures(places))
    return bundle

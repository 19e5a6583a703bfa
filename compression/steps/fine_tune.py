"""Training of a whole captioner, or of what a recipe names of it; zeros stay zeros."""

from __future__ import annotations

from caption_core.bundle import Bundle
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.settings.fine_tuning import FineTune


def apply(step: FineTune, context: StepContext) -> Bundle:
    """Train the parent's model, and keep the best epoch's weights, or its own.

    Raises:
        UsageError: no data to train on.
    """
    model = load_model(context.parent)
    history = Tuner(context, model, step.training).run()
    did = f"{step.training.objective}, {step.training.epochs} epochs"
    bundle = write_float_child(context, step, model, did=did)
    record_step(context, step, history=history)
    return bundle

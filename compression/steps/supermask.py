"""End-to-end supermask pruning (Tan et al. 2019, arXiv 1908.10797; 2021, arXiv 2110.03298)."""

from __future__ import annotations

from caption_core.bundle import Bundle
from caption_core.models.captioning import CaptioningModel
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.gates import TOLERANCE, Gates
from compression.masks import sparsity_figures
from compression.settings.pruning import Supermask
from compression.trained_places import begin
from compression.training_state import History


def apply(step: Supermask, context: StepContext) -> Bundle:
    """Train weights and their gates, round the gates, and train on with the masks fixed where that is asked for.

    Only weights that train have gates. Matrices of the encoder before `training.encoder_from` are pruned at once by
    magnitude, before their features are computed.

    Raises:
        UsageError: no data to train on, `layers` choose none of the matrices, or none of those trains.
    """
    model, trained, frozen = begin(step, context)
    gates = Gates(trained, step)
    history = Tuner(context, model, step.training, gates).run()
    _warn_of_distance(step, context, gates)
    tuned = _fine_tuned(step, context, model)
    bundle = write_float_child(context, step, model, did=f"{step.part} to {step.sparsity:.1%} zeros by trained gates")
    figures = sparsity_figures(frozen + trained) | {"pruned_at_once": [place.name for place in frozen]}
    rounded = gates.rounded_sparsity()
    record_step(context, step, history=history, fine_tuning=tuned, gates_sparsity=rounded, **figures)
    return bundle


def _fine_tuned(step: Supermask, context: StepContext, model: CaptioningModel) -> History:
    """Train on, if at all; the tuner keeps zeros, which are the masks by now."""
    return [] if step.fine_tuning is None else Tuner(context, model, step.fine_tuning).run()


def _warn_of_distance(step: Supermask, context: StepContext, gates: Gates) -> None:
    rounded = gates.rounded_sparsity()
    if abs(rounded - step.sparsity) > TOLERANCE:
        context.log(
            f"supermask: the gates came to a sparsity of {rounded:.3f}, not {step.sparsity}: the rest is decided by "
            "their order; more epochs, a higher gate_learning_rate or sparsity_weight get nearer"
        )

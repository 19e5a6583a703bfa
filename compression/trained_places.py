"""What methods that prune while weights train can work on: what trains, and not what lies before it."""

from __future__ import annotations

from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext
from compression.fine_tuning import by_training
from compression.masks import apply_masks, magnitude_masks
from compression.places import Place, chosen_places
from compression.random_weights import restart_decoder
from compression.settings.pruning import Magnitude, Snip, Supermask


def begin(step: Snip | Supermask, context: StepContext) -> tuple[CaptioningModel, list[Place], list[Place]]:
    """The model that a step begins with, and its matrices as `split_places` has them; what doesn't train is pruned.

    Raises:
        UsageError: see `split_places`.
    """
    model = load_model(context.parent)
    if step.restart:
        restart_decoder(context, model)
    trained, frozen = split_places(model, step)
    prune_at_once(frozen, step.sparsity)
    return model, trained, frozen


def split_places(model: CaptioningModel, step: Magnitude | Snip | Supermask) -> tuple[list[Place], list[Place]]:
    """The step's matrices: those that its training changes, and those of the encoder before `encoder_from`.

    Raises:
        UsageError: `layers` choose none, or none of the chosen trains.
    """
    places = chosen_places(model, step.part, step.layers)
    trained, frozen = by_training(model, places, step.training)
    if not trained:
        raise UsageError(
            f"{step.kind} prunes while weights train, and none of the {step.part}'s does: "
            "say training.encoder_from, or prune at once with hard"
        )
    return trained, frozen


def prune_at_once(places: list[Place], sparsity: float) -> None:
    """Prune matrices that don't train, by magnitude, to the sparsity of those that do."""
    if places:
        apply_masks(places, magnitude_masks(places, sparsity, "blind"))

"""Iterative magnitude pruning with rewinding (Frankle and Carbin 2019, arXiv 1803.03635)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caption_core.bundle import Bundle
from caption_core.models.captioning import CaptioningModel
from caption_core.models.weights import Weights, assign_weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.masks import Masks, apply_masks, magnitude_masks, sparsity_figures, sparsity_of
from compression.places import Place, chosen_places
from compression.random_weights import restart_decoder
from compression.settings.pruning import LotteryTicket

Epochs = list[dict[str, Any]]


def apply(step: LotteryTicket, context: StepContext) -> Bundle:
    """Train, prune and rewind in rounds; train what is left after the last.

    Raises:
        UsageError: no data to train on, or `layers` choose none of the matrices.
    """
    model = load_model(context.parent)
    if step.rewind == "random":
        restart_decoder(context, model)
    places = chosen_places(model, step.part, step.layers)
    history = find_ticket(step, context, model, places)
    history += _trained(step, context, model, step.rounds + 1)
    did = f"{step.part} to {step.sparsity:.1%} zeros in {step.rounds} rounds of {step.method} pruning and rewinding"
    bundle = write_float_child(context, step, model, did=did)
    rounds = round_sparsities(step.sparsity, step.rounds)
    record_step(context, step, history=history, rounds=rounds, **sparsity_figures(places))
    return bundle


def round_sparsities(sparsity: float, rounds: int) -> list[float]:
    """Sparsity after each round: what remains falls by the same factor in each, and the last reaches `sparsity`."""
    return [1.0 - (1.0 - sparsity) ** (number / rounds) for number in range(1, rounds)] + [sparsity]


def find_ticket(step: LotteryTicket, context: StepContext, model: CaptioningModel, places: Sequence[Place]) -> Epochs:
    """Leave in `model` the weights that it came with, less those that all rounds pruned; returns the rounds' epochs."""
    first = _weights(model)
    history: Epochs = []
    for number, sparsity in enumerate(round_sparsities(step.sparsity, step.rounds), start=1):
        history += _trained(step, context, model, number)
        masks = magnitude_masks(places, sparsity, step.method)
        rewind(model, places, first, masks)
        context.log(f"lottery_ticket: round {number} of {step.rounds} pruned to {sparsity_of(places):.2%}")
    return history


def rewind(model: CaptioningModel, places: Sequence[Place], first: Weights, masks: Masks) -> None:
    """Give the model its `first` weights again, but for those that `masks` leave out."""
    assign_weights("encoder", model.encoder, first)
    assign_weights("decoder", model.decoder, first)
    apply_masks(places, masks)


def _trained(step: LotteryTicket, context: StepContext, model: CaptioningModel, number: int) -> Epochs:
    """Train `model`, whose zeros stay; the epochs say of which training they are."""
    return [{"training": number} | epoch for epoch in Tuner(context, model, step.training).run()]


def _weights(model: CaptioningModel) -> Weights:
    return named_weights("encoder", model.encoder) | named_weights("decoder", model.decoder)

"""What a step does to what earlier steps left of a part: its zeros, its clusters. No TensorFlow here."""

from __future__ import annotations

from compression.settings.architecture import Architecture, FactorizeEmbedding, TieEmbedding
from compression.settings.fields import Part
from compression.settings.pruning import Hard, LotteryTicket, Magnitude, Snip, Supermask
from compression.settings.quantization import QuantizationAware
from compression.settings.step import Step

Pruning = Hard | Magnitude | Supermask | Snip | LotteryTicket


def begins_anew(step: Step, part: Part) -> bool:
    """Whether matrices of a part may begin with other values than their parents', without zeros or clusters.

    A decoder's first matrix has the encoder's channels on one side: with another encoder it may be another one.
    """
    if isinstance(step, Architecture):
        return _is_exchanged(step, part)
    if part == "encoder":
        return False
    return isinstance(step, (FactorizeEmbedding, TieEmbedding)) or _restarts(step)


def _is_exchanged(step: Architecture, part: Part) -> bool:
    encoder = step.encoder is not None or step.encoder_width is not None
    if part == "encoder":
        return encoder or step.encoder_weights is not None
    sizes = [name for name in step.decoder_settings if not name.endswith("_dropout")]
    return encoder or step.encoder_features is not None or step.decoder is not None or bool(sizes)


def _restarts(step: Step) -> bool:
    if isinstance(step, LotteryTicket):
        return step.rewind == "random"
    return isinstance(step, (Snip, Supermask)) and step.restart


def dissolves_clusters(step: Step, part: Part) -> bool:
    """Whether a step's trainings move the weights of a part one by one; zeros stay zeros in all of them.

    Training for int8 keeps the clusters of the part that it is about, and the encoder's those of the decoder, too.
    """
    keeps = isinstance(step, QuantizationAware) and part in (step.part, "decoder")
    return part in step.moves and not keeps


def takes_nothing_away(step: Pruning, earlier: Pruning) -> bool:
    """Whether all zeros that a step asks for are there already, for all of its matrices."""
    if step.sparsity > earlier.sparsity or not _covers(earlier.layers, step.layers):
        return False
    if isinstance(step, Magnitude) and step.pattern != "unstructured":
        return isinstance(earlier, Magnitude) and _pattern(step) == _pattern(earlier)
    # Of what is ranked across matrices, one of them may have fewer zeros than all together.
    return _is_even(earlier) or (is_same_choice(step.layers, earlier.layers) and not _is_even(step))


def is_same_choice(one: tuple[str, ...] | None, other: tuple[str, ...] | None) -> bool:
    """Whether two choices of `layers` name the same; None chooses all."""
    return (None if one is None else set(one)) == (None if other is None else set(other))


def _covers(earlier: tuple[str, ...] | None, later: tuple[str, ...] | None) -> bool:
    """Whether each name that holds a text of `later` holds one of `earlier`."""
    if earlier is None:
        return True
    return later is not None and all(any(text in longer for text in earlier) for longer in later)


def _is_even(step: Pruning) -> bool:
    """Whether each matrix gets the step's sparsity, and not all together."""
    if isinstance(step, (Hard, LotteryTicket)):
        return step.method == "uniform"
    return isinstance(step, Magnitude)


def _pattern(step: Magnitude) -> tuple[object, ...]:
    return (step.pattern, step.block, step.m_by_n)

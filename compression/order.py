"""Which steps may follow which. No TensorFlow here: a senseless recipe is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from compression.effects import Pruning, begins_anew, dissolves_clusters, is_same_choice, takes_nothing_away
from compression.settings.architecture import Architecture, TieEmbedding
from compression.settings.clustering import Cluster
from compression.settings.delivery import Store
from compression.settings.fields import PARTS, PIXELS, Part
from compression.settings.fine_tuning import FineTune
from compression.settings.pruning import PRUNING, Snip
from compression.settings.quantization import QuantizationAware, Quantize
from compression.settings.step import Step

_LEAVES_UNTRAINED = (Architecture, TieEmbedding)


class StepError(ValueError):
    """A step that can't be taken where it stands.

    Args:
        index: its position in the chain.
        reason: why.
    """

    def __init__(self, index: int, reason: str) -> None:
        super().__init__(reason)
        self.index = index


@dataclass(slots=True)
class _PartState:
    """What has been done to a part so far."""

    prunings: list[Pruning] = field(default_factory=list)
    clusterings: list[Cluster] = field(default_factory=list)
    aware: int | None = None
    quantized: bool = False


@dataclass(slots=True)
class _State:
    parts: dict[Part, _PartState] = field(default_factory=lambda: {part: _PartState() for part in PARTS})
    untrained: int | None = None
    stored: bool = False
    is_known: bool = True  # whether the encoder is the one that the decoder last trained with


def check_order(steps: Sequence[Step]) -> None:
    """See to it that each step makes sense after those before it.

    A step may undo what was done to a part that it isn't about: its training may move that part's weights, too.

    Raises:
        StepError: it doesn't.
    """
    state = _State()
    for index, step in enumerate(steps):
        if state.stored:
            raise StepError(index, f"{step.kind} after store: a stored bundle is finished; put store last")
        if isinstance(step, Store):
            state.stored = True
            continue
        if reason := _own_features(step, state):
            raise StepError(index, reason)
        for part in PARTS:
            if reason := _objection(step, part, state.parts[part]):
                raise StepError(index, reason)
        _note(step, state, index)
    _check_end(state)


def _own_features(step: Step, state: _State) -> str | None:
    """Why there are no features to learn, or None."""
    if not step.learns_features or not state.is_known or _changes_features(step):
        return None
    known = "the encoder gives them already, for the decoder last trained with it as it is"
    return f"{step.kind} on objective features: {known}"


def _changes_features(step: Step) -> bool:
    """Whether the encoder gives other features in a step before it trains, or while it does."""
    if isinstance(step, Snip) and step.training.encoder_from == PIXELS:
        return False  # what tells which weights matter is how far the features are from the teacher's
    return "encoder" in step.parts and not isinstance(step, FineTune)


def _objection(step: Step, part: Part, done: _PartState) -> str | None:
    """Why a step must not follow what was done to a part, or None."""
    if done.quantized and (reason := _integer_objection(step, part)):
        return reason
    if isinstance(step, Quantize):
        return _quantize_objection(step, part, done)
    return (
        _awareness_objection(step, part, done)
        or _cluster_objection(step, part, done)
        or _zeros_objection(step, part, done)
    )


def _integer_objection(step: Step, part: Part) -> str | None:
    """Why a step must not follow a part's conversion, or None. Conversions are run last, wherever they stand."""
    if part not in (*step.parts, *step.moves):
        return None
    if isinstance(step, Quantize):
        return f"the {part} is given a format twice"
    reason = f"{step.kind} after quantize: the {part}'s weights are integers by then and can't change any more"
    return reason if part in step.parts else f"{reason}; {_remedy(step, part)}"


def _quantize_objection(step: Quantize, part: Part, done: _PartState) -> str | None:
    if done.aware is None or part not in step.parts:
        return None
    chosen = step.encoder if part == "encoder" else step.decoder
    wanted = ("int8",) if part == "encoder" else ("dynamic", "int8")
    if chosen not in wanted:
        return f"the {part} was trained for int8, and {chosen} makes no use of it: choose {' or '.join(wanted)}"
    return None


def _awareness_objection(step: Step, part: Part, done: _PartState) -> str | None:
    if done.aware is None or part not in (*step.parts, *step.moves):
        return None
    remedy = "only quantize may follow" if part in step.parts else _remedy(step, part)
    return (
        f"{step.kind} after quantization_aware: it would move the {part}'s weights away from the ranges that they "
        f"were trained for; {remedy}"
    )


def _cluster_objection(step: Step, part: Part, done: _PartState) -> str | None:
    if not done.clusterings:
        return None
    clustered = [earlier.layers for earlier in done.clusterings]
    if isinstance(step, Cluster) and part == step.part and any(is_same_choice(step.layers, one) for one in clustered):
        return f"the {part} is clustered twice"
    if dissolves_clusters(step, part):
        return f"{step.kind} after cluster: its training would dissolve the {part}'s clusters; {_remedy(step, part)}"
    if begins_anew(step, part):
        return f"{step.kind} after cluster: it would dissolve the {part}'s clusters; put it before"
    return None


def _zeros_objection(step: Step, part: Part, done: _PartState) -> str | None:
    if done.prunings and begins_anew(step, part):
        return f"{step.kind} after pruning: what begins anew would fill the {part}'s zeros again; put it before"
    if not isinstance(step, PRUNING) or part != step.part:
        return None
    for earlier in done.prunings:
        if takes_nothing_away(step, earlier):
            where = "" if step.layers is None else f" in {', '.join(step.layers)}"
            present = f"the {part} has a sparsity of {earlier.sparsity:g} already{where}"
            return f"{present}: {step.sparsity:g} takes nothing more away"
    return None


def _remedy(step: Step, part: Part) -> str:
    """How a step may leave a part's weights as they are."""
    if part not in step.parts:
        change = "let it train on objective features" if part == "decoder" else "leave out its training's encoder_from"
        return f"{change}, or put it before"
    if isinstance(step, Cluster):
        return "say training: null, or cluster all layers in one step"
    return "put it before"


def _note(step: Step, state: _State, index: int) -> None:
    for part in step.parts:
        done = state.parts[part]
        if isinstance(step, PRUNING):
            done.prunings.append(step)
        elif isinstance(step, Cluster):
            done.clusterings.append(step)
        elif isinstance(step, QuantizationAware):
            done.aware = index
        elif isinstance(step, Quantize):
            done.quantized = True
    trains_decoder = "decoder" in step.moves
    if trains_decoder or "encoder" in (*step.parts, *step.moves):
        state.is_known = trains_decoder
    if trains_decoder:
        state.untrained = None
    elif isinstance(step, _LEAVES_UNTRAINED):
        state.untrained = index


def _check_end(state: _State) -> None:
    for part, done in state.parts.items():
        if done.aware is not None and not done.quantized:
            raise StepError(done.aware, f"quantization_aware without quantize after it: the {part} would stay in float")
    if state.untrained is not None:
        reason = "the decoder is new, rearranged or given other features, and nothing trains it on captions afterwards"
        raise StepError(state.untrained, f"{reason}: add fine_tune or distill, or a training to the step")


def with_one_quantization(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """The chain with its conversions to LiteRT as one step, behind all that trains; and where each step came from.

    A part that has no format is exported in float32 beside one that has.
    """
    conversions = [(index, step) for index, step in enumerate(steps) if isinstance(step, Quantize)]
    others = [(index, step) for index, step in enumerate(steps) if not isinstance(step, Quantize)]
    if conversions:
        # What can still be wrong with it is, most of all, a layer that it names.
        place = max(conversions, key=lambda conversion: (bool(conversion[1].keep_float), conversion[0]))[0]
        merged = (place, _merged([step for _, step in conversions]))
        end = len(others) - sum(isinstance(step, Store) for _, step in others)
        others.insert(end, merged)
    return tuple(step for _, step in others), tuple(index for index, _ in others)


def _merged(conversions: Sequence[Quantize]) -> Quantize:
    formats = {part: getattr(step, part) for step in conversions for part in step.parts}
    keep = tuple(name for step in conversions for name in step.keep_float)
    asked = [step.calibration_images for step in conversions if "calibration_images" in step.model_fields_set]
    settings: dict[str, Any] = {part: formats.get(part, "float32") for part in PARTS}
    if asked:
        settings["calibration_images"] = max(asked)
    return Quantize(**settings, keep_float=keep)

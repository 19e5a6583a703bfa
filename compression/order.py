"""Which steps may follow which. No TensorFlow here: a senseless recipe is refused before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from compression.settings.architecture import Architecture, CutVocabulary, FactorizeEmbedding, TieEmbedding
from compression.settings.clustering import Cluster
from compression.settings.delivery import Store
from compression.settings.fields import PARTS, Part
from compression.settings.pruning import PRUNING
from compression.settings.quantization import QuantizationAware, Quantize
from compression.settings.step import Step

_RESHAPING = (Architecture, FactorizeEmbedding, TieEmbedding, CutVocabulary)
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

    sparsity: float = 0.0
    clustered: bool = False
    aware: int | None = None
    quantized: bool = False
    untrained: int | None = None


@dataclass(slots=True)
class _State:
    parts: dict[Part, _PartState] = field(default_factory=lambda: {part: _PartState() for part in PARTS})
    stored: bool = False


def check_order(steps: Sequence[Step]) -> None:
    """See to it that each step makes sense after those before it.

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
        if reason := _untrue_features(step, state):
            raise StepError(index, reason)
        for part in step.parts:
            if reason := _objection(step, part, state.parts[part]):
                raise StepError(index, reason)
        for part in step.parts:
            _note(step, state.parts[part], index)
    _check_end(state)


def _untrue_features(step: Step, state: _State) -> str | None:
    """Why a decoder must not train behind an encoder that was trained for int8, or None."""
    if state.parts["encoder"].aware is None or "decoder" not in step.parts or not step.trainings:
        return None
    return (
        f"{step.kind} after the encoder's quantization_aware: the decoder would train on the float features of weights "
        "that are meant for int8; put it before"
    )


def _objection(step: Step, part: Part, done: _PartState) -> str | None:
    """Why a step must not follow what was done to a part, or None."""
    if done.quantized:
        if isinstance(step, Quantize):
            return f"the {part} is given a format twice"
        return f"{step.kind} after quantize: the {part}'s weights are integers by then and can't change any more"
    if isinstance(step, Quantize):
        return _quantize_objection(step, part, done)
    if done.aware is not None:
        return (
            f"{step.kind} after quantization_aware: it would move the {part}'s weights away from the ranges that they "
            "were trained for; only quantize may follow"
        )
    if isinstance(step, _RESHAPING):
        return _reshaping_objection(step, part, done)
    if isinstance(step, PRUNING):
        return _pruning_objection(step, part, done)
    if isinstance(step, Cluster):
        return f"the {part} is clustered twice" if done.clustered else None
    if done.clustered and not isinstance(step, QuantizationAware):
        return f"{step.kind} after cluster: training would dissolve the {part}'s clusters; put it before cluster"
    return None


def _quantize_objection(step: Quantize, part: Part, done: _PartState) -> str | None:
    chosen = step.encoder if part == "encoder" else step.decoder
    wanted = ("int8",) if part == "encoder" else ("dynamic", "int8")
    if done.aware is not None and chosen not in wanted:
        return f"the {part} was trained for int8, and {chosen} makes no use of it: choose {' or '.join(wanted)}"
    return None


def _reshaping_objection(step: Step, part: Part, done: _PartState) -> str | None:
    if done.clustered:
        return f"{step.kind} after cluster: it would dissolve the {part}'s clusters; put it before"
    if done.sparsity:
        return f"{step.kind} after pruning: it would fill the {part}'s zeros again; put it before"
    return None


def _pruning_objection(step: Step, part: Part, done: _PartState) -> str | None:
    sparsity: float = step.sparsity  # type: ignore[attr-defined]  # every pruning step has one
    if done.clustered:
        return f"{step.kind} after cluster: its training would dissolve the {part}'s clusters; prune first"
    if sparsity <= done.sparsity:
        return f"the {part} has a sparsity of {done.sparsity:g} already: {sparsity:g} takes nothing more away"
    return None


def _note(step: Step, done: _PartState, index: int) -> None:
    if isinstance(step, PRUNING):
        done.sparsity = step.sparsity
    elif isinstance(step, Cluster):
        done.clustered = True
    elif isinstance(step, QuantizationAware):
        done.aware = index
    elif isinstance(step, Quantize):
        done.quantized = True
    if any(training.objective != "features" for training in step.trainings):
        done.untrained = None
    elif isinstance(step, _LEAVES_UNTRAINED):
        done.untrained = index


def _check_end(state: _State) -> None:
    for part, done in state.parts.items():
        if done.aware is not None and not done.quantized:
            raise StepError(done.aware, f"quantization_aware without quantize after it: the {part} would stay in float")
        if done.untrained is not None:
            reason = f"the {part} is new or rearranged and nothing trains it on captions afterwards"
            raise StepError(done.untrained, f"{reason}: add fine_tune or distill, or a training to the step")


def with_one_quantization(steps: Sequence[Step]) -> tuple[tuple[Step, ...], tuple[int, ...]]:
    """The chain with its conversions to LiteRT as one step, behind all that trains; and where each step came from.

    A part that has no format is exported in float32 beside one that has.
    """
    conversions = [(index, step) for index, step in enumerate(steps) if isinstance(step, Quantize)]
    others = [(index, step) for index, step in enumerate(steps) if not isinstance(step, Quantize)]
    if conversions:
        last = conversions[-1][0]
        merged = (last, _merged([step for _, step in conversions]))
        end = len(others) - sum(isinstance(step, Store) for _, step in others)
        others.insert(end, merged)
    return tuple(step for _, step in others), tuple(index for index, _ in others)


def _merged(conversions: Sequence[Quantize]) -> Quantize:
    formats = {part: getattr(step, part) for step in conversions for part in step.parts}
    keep = tuple(name for step in conversions for name in step.keep_float)
    images = max(step.calibration_images for step in conversions)
    return Quantize(
        **{part: formats.get(part, "float32") for part in PARTS}, keep_float=keep, calibration_images=images
    )

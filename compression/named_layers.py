"""Whether the layers that recipes name are there and can take what is asked of them, and teachers fit, before any work.

Names and shapes follow from a captioner's design alone: what a step will find is looked up in a model of random
weights. That takes TensorFlow, which gives memory back only by ending, and so a process of its own: `python -m
compression.named_layers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from compression.architecture_change import Design, design_after, design_of
from compression.child_process import answer_request, ask_module
from compression.order import StepError
from compression.recipe import Chain
from compression.settings.clustering import Cluster
from compression.settings.fine_tuning import FineTune
from compression.settings.pruning import Hard, LotteryTicket, Magnitude, Snip, Supermask
from compression.settings.quantization import QuantizationAware, Quantize
from compression.settings.registry import STEPS
from compression.settings.step import Step

if TYPE_CHECKING:
    from caption_core.models.captioning import CaptioningModel


def check_layers(chains: Sequence[tuple[Chain, Manifest]]) -> None:
    """See to it that each step finds the layers that it names in its captioner, and a teacher for its features.

    Args:
        chains: with the captioners that they are made for, which can take them.

    Raises:
        UsageError: one doesn't; the message gives line and reason.
    """
    asked = [(one, manifest) for one, manifest in chains if any(_questions(0, one.steps, manifest))]
    if not asked:
        return
    request = [as_request(one.steps, manifest) for one, manifest in asked]
    objection = ask_module(__name__, request, process="the process that looks up a recipe's layers")
    if objection is not None:
        number, index, reason = objection
        raise asked[number][0].error(StepError(index, reason))


def as_request(steps: Sequence[Step], manifest: Manifest) -> dict[str, Any]:
    """A chain and its captioner as JSON holds them."""
    settings = [[step.kind, step.model_dump(mode="json", exclude_unset=True)] for step in steps]
    return {"manifest": manifest.model_dump(mode="json"), "steps": settings}


@dataclass(frozen=True, slots=True)
class _Question:
    """A step of one of the chains, and the captioner that it will find.

    Attributes:
        is_aware: whether the encoder was trained for int8 before.
        teachers: encoders of which one has to give features that the captioner's could give; none where that is sure.
    """

    number: int
    index: int
    step: Step
    design: Design
    is_aware: bool
    teachers: tuple[EncoderConfig, ...]


def first_objection(request: list[dict[str, Any]]) -> tuple[int, int, str] | None:
    """In that process: the first objection to chains `as_request`: the chain's number, the step's index, the reason."""
    objections: list[tuple[int, int, str]] = []
    questions = chain.from_iterable(_questions_of(number, asked) for number, asked in enumerate(request))
    # By design: each is built once, and none is kept.
    for _, alike in groupby(sorted(questions, key=_design_of), key=_design_of):
        objections += _objections(list(alike))
    return min(objections, default=None)


def _objections(alike: Sequence[_Question]) -> list[tuple[int, int, str]]:
    """To questions of one design."""
    model = _model_of(alike[0].design)
    if model is None:  # the steps themselves may run where there is more memory
        return []
    return [found for question in alike if (found := _objection(question, model))]


def _design_of(question: _Question) -> str:
    return repr(question.design)


def _questions_of(number: int, asked: dict[str, Any]) -> Iterator[_Question]:
    steps = [STEPS[kind].model_validate(settings) for kind, settings in asked["steps"]]
    return _questions(number, steps, Manifest.model_validate(asked["manifest"]))


def _questions(number: int, steps: Sequence[Step], manifest: Manifest) -> Iterator[_Question]:
    design, is_aware = design_of(manifest), False
    known = design.encoder  # what the decoder last trained with
    for index, step in enumerate(steps):
        before, design = design, design_after(step, design)
        # Fine-tuning changes nothing before it trains: it would teach itself.
        others = (known,) if isinstance(step, FineTune) else (known, before.encoder)
        teachers = others if step.learns_features and design.encoder not in others else ()
        if step.asks_of_layers or teachers:
            yield _Question(number, index, step, design, is_aware, teachers)
        is_aware = is_aware or (isinstance(step, QuantizationAware) and step.part == "encoder")
        known = design.encoder if "decoder" in step.moves else known


def _model_of(design: Design) -> CaptioningModel | None:
    """A model of random weights; None where this machine's memory doesn't hold it."""
    import tensorflow as tf

    from compression.rebuilding import random_model

    try:
        return random_model(design)
    except (MemoryError, tf.errors.ResourceExhaustedError):
        return None


def _objection(question: _Question, model: CaptioningModel) -> tuple[int, int, str] | None:
    try:
        _check(question.step, model, is_aware=question.is_aware)
        _check_teachers(question.teachers, model)
    except UsageError as error:
        return question.number, question.index, f"{question.step.kind}: {error}"
    return None


def _check(step: Step, model: CaptioningModel, *, is_aware: bool) -> None:
    from compression.places import chosen_places
    from compression.steps.pruning_patterns import PATTERNS
    from compression.trained_places import split_places

    if isinstance(step, Quantize):
        _check_kept_float(step, model, is_aware=is_aware)
    elif isinstance(step, Magnitude):
        for place in chain(*split_places(model, step)):
            PATTERNS[step.pattern](place, step)
    elif isinstance(step, (Snip, Supermask)):
        split_places(model, step)
    elif isinstance(step, (Hard, LotteryTicket, Cluster)):
        chosen_places(model, step.part, step.layers)


def _check_kept_float(step: Quantize, model: CaptioningModel, *, is_aware: bool) -> None:
    from compression.kept_float import check_formats, kept_float

    kept = kept_float(model, step.keep_float)
    check_formats(model, step.keep_float, step.formats)
    if is_aware and step.encoder == "int8" and kept["encoder"]:
        raise UsageError("keep_float: an encoder that was trained for int8 is converted as it was trained")


def _check_teachers(teachers: Sequence[EncoderConfig], model: CaptioningModel) -> None:
    from caption_core.models.encoders import build_encoder
    from compression.feature_matching import first_fitting

    if teachers:
        first_fitting(model.encoder, (build_encoder(teacher, None) for teacher in teachers))


if __name__ == "__main__":
    answer_request(first_objection)

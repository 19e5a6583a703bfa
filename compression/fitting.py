"""Whether a captioner can take a chain's steps, and whether their data are there. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from caption_core.models.architectures import check_block
from compression.architecture_change import Design, begins_at_random, design_after, design_of
from compression.order import StepError
from compression.settings.fields import PIXELS
from compression.settings.pruning import PRUNING, LotteryTicket, Magnitude, Snip, Supermask
from compression.settings.quantization import ROUNDABLE_ENCODERS, QuantizationAware, Quantize
from compression.settings.step import Step

_WHILE_TRAINING = (Magnitude, Supermask, Snip, LotteryTicket, QuantizationAware)
"""Steps that can do nothing to a part that doesn't train. `hard` and `cluster` change its weights at once."""


def check_fit(steps: Sequence[Step], manifest: Manifest, *, has_images: bool, has_captions: bool) -> None:
    """See to it that a captioner can take the steps, with the data that are given.

    Raises:
        StepError: it can't, or a step lacks its data.
        UsageError: the bundle is no float bundle.
    """
    if steps and manifest.runtime != "tensorflow":
        raise UsageError(f"{manifest.name} is compressed already: compression starts from a float bundle")
    design = design_of(manifest)
    for index, step in enumerate(steps):
        with _named(index, step):
            _check_data(step, has_images=has_images, has_captions=has_captions)
            _check_random_encoder(step, steps[index:], design)
            design = design_after(step, design)
            _check_trainings(step, design.encoder.name)
            _check_part_trains(step)
            _check_encoder(step, design)


def draws_images(step: Step) -> bool:
    """Whether a step reads training images where there are some: it trains or calibrates, or tells layers' errors."""
    return bool(step.trainings) or isinstance(step, Quantize)


@contextmanager
def _named(index: int, step: Step) -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        raise StepError(index, f"{step.kind}: {error}") from error


def _check_data(step: Step, *, has_images: bool, has_captions: bool) -> None:
    if isinstance(step, Quantize) and step.calibrates and not has_images:
        raise UsageError("calibration needs training images: give --images and --train-split")
    if isinstance(step, QuantizationAware) and not has_images:
        raise UsageError("ranges are measured on training images: give --images and --train-split")
    if step.trainings and not has_captions:
        raise UsageError("it trains: give --images, --captions, --train-split and --dev-split")


def _check_random_encoder(step: Step, onwards: Sequence[Step], design: Design) -> None:
    if begins_at_random(step, design) and not any(_trains_all_of_the_encoder(later) for later in onwards):
        raise UsageError(
            "the encoder's weights are random, and nothing trains all of them: name encoder_weights, or say "
            "encoder_from: pixels in a training"
        )


def _trains_all_of_the_encoder(step: Step) -> bool:
    return any(training.encoder_from == PIXELS for training in step.trainings)


def _check_trainings(step: Step, encoder: str) -> None:
    for training in step.trainings:
        if training.encoder_from not in (None, PIXELS):
            check_block(encoder, training.encoder_from)


def _check_part_trains(step: Step) -> None:
    if not isinstance(step, _WHILE_TRAINING) or step.part in step.training.moves:
        return
    remedy = "say training.encoder_from, a block or 'pixels'"
    if step.part == "decoder":
        remedy = "objective features trains the encoder only"
    if isinstance(step, PRUNING):
        remedy += ", or prune at once with hard"
    raise UsageError(f"it works on weights that train, and none of the {step.part}'s does: {remedy}")


def _check_encoder(step: Step, design: Design) -> None:
    if not isinstance(step, (Magnitude, QuantizationAware)) or step.part != "encoder":
        return
    if isinstance(step, QuantizationAware) and design.encoder.name not in ROUNDABLE_ENCODERS:
        known = ", ".join(ROUNDABLE_ENCODERS)
        raise UsageError(f"int8's rounding can't be trained in {design.encoder.name}, only in {known}")
    if isinstance(step, Magnitude) and step.pattern == "block" and step.layers is None:
        raise UsageError(
            "blocks need convolutions of 1x1, and an encoder's first one is larger: choose some of them by layers"
        )

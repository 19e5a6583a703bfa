"""Whether a captioner can take a chain's steps, and whether their data are there. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from caption_core.models.architectures import check_block
from compression.architecture_change import design_after, design_of
from compression.order import StepError
from compression.settings.fields import PIXELS
from compression.settings.quantization import QuantizationAware, Quantize
from compression.settings.step import Step


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
            design = design_after(step, design)
            _check_trainings(step, design.encoder.name)


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


def _check_trainings(step: Step, encoder: str) -> None:
    for training in step.trainings:
        if training.encoder_from not in (None, PIXELS):
            check_block(encoder, training.encoder_from)
    if isinstance(step, QuantizationAware) and step.part == "encoder" and step.training.encoder_from is None:
        raise UsageError("the encoder is to train: say training.encoder_from, a block or 'pixels'")

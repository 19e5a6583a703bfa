"""What a step of compression starts from, in tests."""

from __future__ import annotations

from pathlib import Path

from caption_core.bundle import open_bundle
from caption_core.training.config import DataConfig
from compression.context import StepContext
from tests.bundle_builders import SyntheticSet


def step_context(
    parent: Path, data: SyntheticSet, folder: Path, *, teacher: Path | None = None, captions: DataConfig | None = None
) -> StepContext:
    """A step's context over the synthetic photographs."""
    return StepContext(
        parent=open_bundle(parent),
        teacher=open_bundle(teacher or parent),
        known=open_bundle(teacher or parent),
        folder=folder,
        images=data.folder / "images",
        train_names=(data.folder / "train.txt").read_text().split(),
        data=captions,
        seed=1,
        cache=data.folder / "cache",
        log=lambda _: None,
    )


def quantized(parent: Path, data: SyntheticSet, folder: Path) -> Path:
    """The bundle of a captioner in int8 for LiteRT, its encoder calibrated on all the photographs."""
    from compression.settings.quantization import Quantize
    from compression.steps.quantize import apply

    step = Quantize(encoder="int8", decoder="dynamic", calibration_images=12)
    return apply(step, step_context(parent, data, folder)).folder

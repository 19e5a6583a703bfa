"""Post-training quantization: a float bundle to a LiteRT bundle, each part in a format of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle
from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from caption_core.runtimes.litert import ENCODER
from caption_core.runtimes.tensorflow import load_model
from compression.calibration import draw_images, encode_images
from compression.context import StepContext, record_step, write_child
from compression.kept_float import kept_float
from compression.layer_errors import layer_errors
from compression.litert_files import litert_files
from compression.settings.fields import Part
from compression.settings.quantization import Format, Quantize

_REPORT_IMAGES = 8


def apply(step: Quantize, context: StepContext) -> Bundle:
    """Convert encoder and decoder; a part without a format is in float32.

    The record's `layers` are the errors of `layer_errors`, where there are images to measure them on.

    Raises:
        UsageError: the parent is compressed already, a calibrated format has no images, one of them can't be decoded,
            or `keep_float` can't be had.
    """
    if context.parent.manifest.runtime != "tensorflow":
        raise UsageError(f"{context.parent.folder} is compressed already: quantization starts from a float bundle")
    images = _images(step, context)
    model = load_model(context.parent)
    formats = step.formats
    files = litert_files(
        model,
        formats,
        images,
        keep_float=step.keep_float,
        max_tokens=context.parent.manifest.search.max_tokens,
        encoder=_trained_encoder(step, context.parent, model),
    )
    content: dict[str, Path | bytes] = {**files, VOCABULARY: context.parent.path(VOCABULARY)}
    bundle = write_child(context, step, content, did=_did(step, formats, len(images)), fields={"runtime": "litert"})
    layers = _layers(step, context, model, images, files[ENCODER])
    record_step(context, step, history=[], calibration_images=len(images), layers=layers)
    return bundle


def _images(step: Quantize, context: StepContext) -> list[NDArray[np.uint8]]:
    return _draw(context, step.calibration_images) if step.calibrates else []


def _draw(context: StepContext, count: int) -> list[NDArray[np.uint8]]:
    if context.images is None:
        raise UsageError("calibration needs training images: give --images and --train-split")
    files = [context.images / name for name in context.train_names]
    size = context.parent.manifest.preprocessing
    return draw_images(files, count, context.seed, (size.height, size.width))


def _did(step: Quantize, formats: dict[Part, Format], images: int) -> str:
    said = [", ".join(f"{part} {chosen}" for part, chosen in formats.items())]
    if step.keep_float:
        said.append(f"{', '.join(step.keep_float)} kept in float")
    if images:
        said.append(f"ranges measured on {images} training images")
    return "; ".join(said)


def _trained_encoder(step: Quantize, parent: Bundle, model: CaptioningModel) -> bytes | None:
    """The graph of an encoder that was trained for int8; None if it wasn't. `model` is the parent's."""
    if step.encoder != "int8":
        return None
    from compression.encoder_quantization import export_trained_quantization  # loads TF-MOT, which takes seconds

    graph = export_trained_quantization(parent)
    if graph is not None and kept_float(model, step.keep_float)["encoder"]:
        raise UsageError("keep_float: an encoder that was trained for int8 is converted as it was trained")
    return graph


def _layers(
    step: Quantize, context: StepContext, model: CaptioningModel, images: Sequence[NDArray[np.uint8]], encoder: bytes
) -> list[dict[str, Any]]:
    if context.images is None or not context.train_names:
        return []
    shown = images[:_REPORT_IMAGES] or _draw(context, _REPORT_IMAGES)
    errors = layer_errors(model, shown, encode_images(encoder, np.stack(shown)), step.formats)
    return [{**asdict(error), "error": round(error.error, 6)} for error in errors]

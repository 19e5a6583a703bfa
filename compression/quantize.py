"""A float bundle to a compressed one: post-training quantization to int8 for the LiteRT runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import MODEL_CARD, VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.errors import ImageError, UsageError
from caption_core.images import ImageLimits, decode_image
from caption_core.model_card import render_model_card
from caption_core.runtimes.litert import DECODER_START, DECODER_STEP, ENCODER
from caption_core.runtimes.tensorflow import load_model
from compression.export import export_decoder, export_encoder


@dataclass(frozen=True, slots=True)
class QuantizeConfig:
    """What to quantize, and on which images the activations' ranges are measured.

    Attributes:
        model: the float bundle.
        output: the compressed bundle's folder.
        calibration: image files of the kind that will be captioned, from training data, never from a test split.
        seed: decides which of them are taken.
        images: how many are taken.
    """

    model: Path
    output: Path
    calibration: tuple[Path, ...]
    seed: int = 1
    images: int = 200

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UsageError(f"calibration images must be at least 1, not {self.images}")
        if not self.calibration:
            raise UsageError("there is no calibration image")


def quantize_bundle(config: QuantizeConfig, *, command: str) -> Bundle:
    """Quantize encoder and decoder, and write the compressed bundle.

    Raises:
        BundleError: the model is no bundle or is altered.
        UsageError: the model is compressed already, or a calibration image can't be decoded.
    """
    parent = open_bundle(config.model)
    if parent.manifest.runtime != "tensorflow":
        raise UsageError(f"{config.model} is compressed already: quantization starts from a float bundle")
    size = (parent.manifest.preprocessing.height, parent.manifest.preprocessing.width)
    images = _calibration_images(config, size)
    model = load_model(parent)
    start, step = export_decoder(model)
    files: dict[str, Path | bytes] = {
        ENCODER: export_encoder(model, images),
        DECODER_START: start,
        DECODER_STEP: step,
        VOCABULARY: parent.path(VOCABULARY),
    }
    manifest = _manifest(parent, config, len(images), command)
    return write_bundle(config.output, manifest, {**files, MODEL_CARD: render_model_card(manifest).encode()})


def _manifest(parent: Bundle, config: QuantizeConfig, images: int, command: str) -> dict[str, Any]:
    manifest = parent.manifest.model_dump(mode="json", exclude={"files", "schema_version", "metrics"})
    provenance = manifest["provenance"]
    provenance["parent"] = parent.model_id
    provenance["steps"] = [
        *provenance["steps"],
        f"trained in float32: {provenance['command']}",
        f"encoder: int8 post-training quantization, calibrated on {images} training images (seed {config.seed})",
        "decoder: int8 matrices a channel, dynamic-range activations; embedding shared with the output layer",
    ]
    provenance["command"] = command
    provenance["versions"] |= {name: version(name) for name in ("tensorflow", "ai-edge-litert")}
    return {**manifest, "name": f"{manifest['name']}-int8", "runtime": "litert"}


def _calibration_images(config: QuantizeConfig, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    order = np.random.default_rng(config.seed).permutation(len(config.calibration))[: config.images]
    return [_decode(config.calibration[index], size) for index in order]


def _decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), size, ImageLimits()).pixels
    except (OSError, ImageError) as error:
        raise UsageError(f"calibration image {path}: {error}") from error


def image_files(folder: Path, names: Sequence[str] | None) -> tuple[Path, ...]:
    """Files of `folder` in name order: those in `names`, or all JPEG and PNG files."""
    if names is not None:
        return tuple(folder / name for name in sorted(names))
    return tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"}))

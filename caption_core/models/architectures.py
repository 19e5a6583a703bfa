"""The encoders that can be built, by name. No TensorFlow here: a job checks its arguments before it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caption_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class EncoderArchitecture:
    """What the system must know of an encoder.

    Attributes:
        application: name of the Keras application that builds it.
        image_size: (height, width) in pixels.
        scale, offset: pixels of 0 to 255 become `pixel * scale + offset`; part of the exported graph.
    """

    application: str
    image_size: tuple[int, int]
    scale: float
    offset: float


ENCODERS = {
    # Sandler et al. 2018, arXiv 1801.04381.
    "mobilenet_v2": EncoderArchitecture("MobileNetV2", image_size=(224, 224), scale=1 / 127.5, offset=-1.0),
}


def check_encoder(name: str, weights: str | None) -> None:
    """See to it that an encoder is known and its weights, where they are a file, exist.

    Raises:
        UsageError: they don't.
    """
    if name not in ENCODERS:
        raise UsageError(f"unknown encoder {name!r}; known: {', '.join(sorted(ENCODERS))}")
    if weights not in (None, "imagenet") and not Path(str(weights)).is_file():
        raise UsageError(f"encoder weights {weights}: no such file (a path, or 'imagenet' to download them)")

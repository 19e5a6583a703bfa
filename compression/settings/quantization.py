"""Settings of the steps that take numbers of fewer bits."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compression.settings.fields import PARTS, Part
from compression.settings.step import Step
from compression.settings.training import Training

Format = Literal["float32", "float16", "dynamic", "int8", "int16x8"]
"""How LiteRT holds a part: float16 weights; int8 weights, activations quantized as they come ('dynamic'); int8
throughout, or int16 activations on int8 weights, both with calibrated ranges."""

CALIBRATED: frozenset[str] = frozenset({"int8", "int16x8"})

WHOLE: frozenset[str] = frozenset({"float16", "int16x8"})
"""Formats in which all layers are converted: none can stay in float beside the others."""

ROUNDABLE_ENCODERS = ("mobilenet_v2", "resnet50", "vgg16")
"""Encoders of whose layers TF-MOT knows how they round in training."""


class QuantizationAware(Step):
    """Training with the rounding of int8 in the forward pass (Jacob et al. 2018, arXiv 1712.05877).

    The encoder's is TF-MOT's; zeros and clusters of the weights are preserved (PQAT, CQAT, PCQAT). The decoder's is a
    cell of our own, which rounds matrices a channel, and what they are multiplied by as it comes.
    """

    kind: ClassVar[str] = "quantization_aware"
    part: Part
    training: Training = Training(epochs=1, learning_rate=1e-5)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, fields: Any) -> Any:
        """An encoder that learns its own features again needs and bears more than one that learns captions."""
        if not isinstance(fields, dict) or not isinstance(fields.get("training"), dict):
            return fields
        faster = fields.get("part") == "encoder" and fields["training"].get("objective") == "features"
        return {**fields, "training": {"epochs": 1, "learning_rate": 1e-4 if faster else 1e-5, **fields["training"]}}


class Quantize(Step):
    """Conversion to LiteRT, each part in a format of its own; not quantized is `float32`.

    Attributes:
        calibration_images: training images that activations' ranges are measured on.
        keep_float: names of layers that stay in float where the rest is int8 or dynamic; a part of a name is enough.
    """

    kind: ClassVar[str] = "quantize"
    encoder: Format | None = None
    decoder: Format | None = None
    calibration_images: Annotated[int, Field(ge=1)] = 200
    keep_float: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Quantize:
        if self.encoder is None and self.decoder is None:
            raise ValueError("quantize needs a format for the encoder, the decoder or both")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that it gives a format."""
        return tuple(part for part in PARTS if getattr(self, part) is not None)

    @property
    def formats(self) -> dict[Part, Format]:
        """Each part's."""
        return {"encoder": self.encoder or "float32", "decoder": self.decoder or "float32"}

    @property
    def calibrates(self) -> bool:
        """Whether images are needed."""
        return bool({self.encoder, self.decoder} & CALIBRATED)

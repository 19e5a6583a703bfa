"""Settings of the steps that change what a captioner is built of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field, model_validator

from caption_core.models.architectures import IMAGENET_WEIGHTS
from compression.settings.fields import PARTS, Part
from compression.settings.step import Step
from compression.settings.training import Training


class Architecture(Step):
    """Another encoder or decoder, of which the fitting weights are taken over; training has to follow.

    What is None stays as it is.

    Attributes:
        encoder, encoder_width, image_size, encoder_features: see `EncoderConfig`; `image_size` is a side in pixels.
        encoder_weights: file of the new encoder's weights, or 'imagenet' to download them; None takes the parent's
            where encoder and width stay, and random ones otherwise.
        decoder: its name.
        decoder_settings: sizes and choices by name, as `train` takes them.
    """

    kind: ClassVar[str] = "architecture"
    encoder: str | None = None
    encoder_width: float | None = None
    encoder_features: str | None = None
    encoder_weights: str | None = None
    image_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    decoder: str | None = None
    decoder_settings: dict[str, Any] = Field(default_factory=dict)
    training: Training | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Architecture:
        if not self.parts:
            raise ValueError("architecture changes nothing: name an encoder, an image size, a decoder or its settings")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """Parts that are exchanged."""
        encoder = (self.encoder, self.encoder_width, self.encoder_features, self.encoder_weights, self.image_size)
        changed = {"encoder": any(value is not None for value in encoder)}
        changed["decoder"] = self.decoder is not None or bool(self.decoder_settings)
        return tuple(part for part in PARTS if changed[part])

    @property
    def files(self) -> dict[str, Path]:
        """See `Step`."""
        weights = self.encoder_weights
        return {} if weights in (None, IMAGENET_WEIGHTS) else {"encoder_weights": Path(weights)}


class FactorizeEmbedding(Step):
    """The word embedding as a product of two matrices (Lan et al. 2020, arXiv 1909.11942) by a truncated SVD.

    The small factor is multiplied into its neighbours, so nothing is added to a step.

    Attributes:
        rank: units that are left of a word's vector.
    """

    kind: ClassVar[str] = "factorize_embedding"
    part: ClassVar[Part] = "decoder"
    rank: Annotated[int, Field(ge=1)]
    training: Training | None = None


class TieEmbedding(Step):
    """The output layer tied to the word embedding (Press and Wolf 2017, arXiv 1608.05859), of a decoder that isn't."""

    kind: ClassVar[str] = "tie_embedding"
    part: ClassVar[Part] = "decoder"
    training: Training | None = None


class CutVocabulary(Step):
    """The most frequent words only; the others become the unknown token.

    Attributes:
        words: how many words remain beside the special tokens.
    """

    kind: ClassVar[str] = "cut_vocabulary"
    part: ClassVar[Part] = "decoder"
    words: Annotated[int, Field(ge=1)]
    training: Training | None = None

"""How a step trains."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compression.settings.fields import PARTS, Part, Rate, Settings


class Training(Settings):
    """How a step trains on, while its constraint holds.

    Attributes:
        epochs: passes over the training images.
        learning_rate: Adam's peak rate (see `training.optimization.learning_rate`).
        warmup_steps: updates in which the rate rises.
        objective: `references`, the captions' likelihood; `self_critical`, the CIDEr-D of the model's own captions;
            `features`, those of the encoder that the decoder last trained with (encoder only).
        captions: what counts as reference: those of the data, the teacher's own (sequence-level distillation, Kim and
            Rush 2016, arXiv 1606.07947), or both.
        soft_targets: share of the target that is the teacher's distribution over the next word (word-level
            distillation, Hinton et al. 2015, arXiv 1503.02531), in place of the reference's word.
        temperature: of both distributions in that share.
        teacher_beam: hypotheses an image that the teacher's search keeps; as many captions come of it.
        encoder_from: the encoder's first block that trains along; `pixels` is all of it; None freezes it.
        images: train on the first so many images only.
        batch_images: images of an update; fewer make more updates an epoch, which sparse weights need.
        views: in how many ways an image is seen; None is as the data have it.
        dropout_scale: of the decoder's dropout rates. Fewer weights fit the training data less closely, and need less
            dropout: by the square root of their share, in Han et al. 2015 (arXiv 1506.02626).
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 4
    learning_rate: Rate = 3e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    objective: Literal["references", "self_critical", "features"] = "references"
    captions: Literal["references", "teacher", "both"] = "references"
    soft_targets: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    temperature: Annotated[float, Field(gt=0.0, le=100.0)] = 1.0
    teacher_beam: Annotated[int, Field(ge=1, le=64)] = 3
    encoder_from: str | None = None
    images: Annotated[int, Field(ge=1)] | None = None
    batch_images: Annotated[int, Field(ge=1, le=4096)] = 32
    views: Annotated[int, Field(ge=1, le=64)] | None = None
    dropout_scale: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Training:
        if self.objective != "references" and (self.soft_targets or self.captions != "references"):
            raise ValueError(f"objective {self.objective} has no reference words to distil into")
        if self.objective == "features" and self.encoder_from is None:
            raise ValueError("objective features trains the encoder: say encoder_from")
        return self

    @property
    def moves(self) -> tuple[Part, ...]:
        """Parts whose weights it changes: words move the decoder, and the encoder's blocks where they train along."""
        moved = {"encoder": self.encoder_from is not None, "decoder": self.objective != "features"}
        return tuple(part for part in PARTS if moved[part])

    @property
    def distils(self) -> bool:
        """Whether a teacher is asked for words."""
        return self.soft_targets > 0 or self.captions != "references"

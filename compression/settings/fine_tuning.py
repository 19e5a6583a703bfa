"""Settings of the steps that train alone, a teacher's words among what they learn from."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import model_validator

from compression.settings.fields import Part
from compression.settings.step import Step
from compression.settings.training import Training


class FineTune(Step):
    """Training; zeros stay zeros. With soft targets or the teacher's captions it is a distillation."""

    kind: ClassVar[str] = "fine_tune"
    training: Training = Training()

    @property
    def parts(self) -> tuple[Part, ...]:
        """What trains."""
        return self.moves


class Distill(Step):
    """Training on a teacher's words: its distribution over the next (`word`), its captions (`sequence`), or both."""

    kind: ClassVar[str] = "distill"
    level: Literal["word", "sequence", "both"] = "word"
    training: Training = Training()

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, fields: Any) -> Any:
        """Shares and captions follow from the level where the recipe doesn't name them."""
        if not isinstance(fields, dict) or not isinstance(fields.get("training", {}), dict):
            return fields
        level, training = fields.get("level", "word"), dict(fields.get("training", {}))
        if level in ("word", "both"):
            training.setdefault("soft_targets", 0.7)
        if level in ("sequence", "both"):
            training.setdefault("captions", "both")
        return {**fields, "training": training}

    @model_validator(mode="after")
    def _distils(self) -> Distill:
        """The bundle's provenance will say that the student learned on this level."""
        if self.level in ("word", "both") and not self.training.soft_targets:
            raise ValueError(f"level {self.level} learns from the teacher's distribution: soft_targets can't be 0")
        if self.level in ("sequence", "both") and self.training.captions == "references":
            raise ValueError(f"level {self.level} learns from the teacher's captions: captions can't be references")
        return self

    @property
    def parts(self) -> tuple[Part, ...]:
        """What trains."""
        return self.moves

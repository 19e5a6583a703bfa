"""Settings of weight clustering."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from compression.settings.fields import Part
from compression.settings.step import Step
from compression.settings.training import Training


class Cluster(Step):
    """Weight clustering (Han et al. 2016, arXiv 1510.00149) by TF-MOT; zeros stay zeros.

    Attributes:
        clusters: distinct values of a weight matrix, zero counted where it is sparse.
        initialization: of the centroids, by TF-MOT; `density` reads them off 30 values and seldom gives more.
        per_channel: clusters of their own for each output channel (encoder convolutions only).
    """

    kind: ClassVar[str] = "cluster"
    part: Part
    clusters: Annotated[int, Field(ge=2, le=256)] = 16
    initialization: Literal["kmeans++", "linear", "density"] = "kmeans++"
    per_channel: bool = False
    layers: tuple[str, ...] | None = None
    training: Training | None = Training(epochs=1)

    @model_validator(mode="after")
    def _fits(self) -> Cluster:
        if self.per_channel and self.part != "encoder":
            raise ValueError("per_channel is for the encoder's convolutions: the decoder has none")
        return self

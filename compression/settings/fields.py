"""What the settings of steps are made of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Part = Literal["encoder", "decoder"]
PARTS: tuple[Part, ...] = ("encoder", "decoder")

Sparsity = Annotated[float, Field(gt=0.0, lt=1.0)]
"""Share of a weight's elements that are zero."""

PIXELS = "pixels"
"""Names the start of the encoder, where a block is named otherwise."""

Rate = Annotated[float, Field(gt=0.0, le=1.0)]


class Settings(BaseModel):
    """Settings of a step; unknown ones are refused, and so are numbers that aren't finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

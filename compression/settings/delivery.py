"""Settings of the steps that change no weight: search defaults, and how files are stored."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from compression.settings.fields import Part
from compression.settings.step import Step


class Search(Step):
    """Other search defaults of the captioner: fewer beams are part of what makes one fast.

    What is None stays as it is (see `SearchSettings`).
    """

    kind: ClassVar[str] = "search"
    beam_width: Annotated[int, Field(ge=1, le=64)] | None = None
    length_penalty: Annotated[float, Field(ge=0.0, le=5.0)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=200)] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """None: it changes no weight."""
        return ()


class Store(Step):
    """A bundle's files as a user downloads them: entropy-coded, expanded when they are loaded.

    Attributes:
        codec: `zstd`, or `xz`, which is a few percent smaller and takes ten times as long to expand.
    """

    kind: ClassVar[str] = "store"
    codec: Literal["zstd", "xz"] = "zstd"

"""Metrics that need more than Python: which of them can run here, and why the others can't."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from caption_core.errors import CapstanError
from caption_core.metrics.blocks import Float64


class OptionalMetric(Protocol):
    """A metric whose statistics are computed by another program or library, and add up over images."""

    @property
    def name(self) -> str:
        """Its name in a report."""

    def columns(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Float64]:
        """Statistics of images, float64 [images] each, from tokenized texts joined by spaces."""

    def scores(self, sums: Mapping[str, Float64], num_images: float, /) -> Float64:
        """Scores from sums over `num_images` images, float64 [...]; of single images for unsummed columns and 1."""

    def close(self) -> None:
        """Stop whatever was started."""


class UnavailableError(CapstanError):
    """A metric that can't run here; the message is one line that says what is missing."""


def open_metrics() -> tuple[list[OptionalMetric], list[str]]:
    """METEOR and SPICE where they can run, and a line for each that can't.

    METEOR is the Java program that coco-caption uses; where that is missing, NLTK's with its WordNet data stands in,
    under a name of its own since its figures differ.
    """
    from caption_core.metrics.meteor import Meteor
    from caption_core.metrics.spice import Spice
    from caption_core.metrics.wordnet_meteor import WordNetMeteor

    found: list[OptionalMetric] = []
    notes: list[str] = []
    for alternatives in ((Meteor, WordNetMeteor), (Spice,)):
        for metric in alternatives:
            try:
                found.append(metric())
                break
            except UnavailableError as error:
                notes.append(str(error))
    return found, notes

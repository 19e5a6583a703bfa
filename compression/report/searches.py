"""Which of a variant's scores and speeds a report shows: those of its own search, or of one that was asked for."""

from __future__ import annotations

from compression.measurement import Measurement, Quality, Speed


def quality_of(measurement: Measurement, beam_width: int | None = None) -> Quality | None:
    """Scores with the captioner's own beam width, or the nearest that was scored; with just `beam_width` if given."""
    width = _width(measurement, {one.beam_width for one in measurement.quality}, beam_width)
    return next((one for one in measurement.quality if one.beam_width == width), None)


def speeds_of(measurement: Measurement, threads: int, beam_width: int | None = None) -> list[Speed]:
    """Speeds with so many threads, one a size of batch, with the beam width that `quality_of` would take."""
    timed = [one for one in measurement.speed if one.threads == threads]
    width = _width(measurement, {one.beam_width for one in timed}, beam_width)
    return [one for one in timed if one.beam_width == width]


def best_speed(measurement: Measurement, threads: int, beam_width: int | None = None) -> Speed | None:
    """The speed of the batch that is fastest."""
    return max(speeds_of(measurement, threads, beam_width), key=lambda one: one.images_per_s, default=None)


def _width(measurement: Measurement, measured: set[int], asked: int | None) -> int | None:
    """The beam width to show; the narrower of two that are equally near, so that no order decides."""
    if asked is not None:
        return asked
    return min(measured, key=lambda width: (abs(width - measurement.beam_width), width), default=None)

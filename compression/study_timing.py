"""How fast a study's variants are, and how soon ready: measured side by side when everything else is done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caption_core.errors import CapstanError
from compression.measurement import MEASUREMENT, Machine, Measurement, Speed, read_measurement, write_measurement
from compression.measuring.loading import measure_loading
from compression.measuring.machine import measure_machine
from compression.measuring.speed import measure_speeds
from compression.measuring.timing import Timing
from compression.study_run import StudyConfig, Tell


def time_variants(config: StudyConfig, made: Mapping[str, Path], tell: Tell) -> dict[str, str]:
    """Time all variants in turns, if what is asked for was not measured of each: ratios hold within one run only.

    Args:
        config: the study's.
        made: bundles by variant's name, each beside its measurement.
        tell: takes lines of progress.

    Returns:
        Causes by name, of variants that can't be timed.
    """
    timing, machine = config.timing, measure_machine()
    found = {name: read_measurement(bundle.parent / MEASUREMENT) for name, bundle in made.items()}
    if timing is None or all(_is_timed(measurement, timing) for measurement in found.values()):
        return {}
    tell(f"measuring how {len(made)} captioners load")
    loaded = {name: _load_s(bundle, timing.repeats) for name, bundle in made.items()}
    failed = {name: cause for name, cause in loaded.items() if isinstance(cause, str)}
    bundles = {name: bundle for name, bundle in made.items() if name not in failed}
    tell(f"measuring the speed of {len(bundles)} captioners in turns")

    def write(speeds: Mapping[str, tuple[Speed, ...]]) -> None:
        for name, bundle in bundles.items():
            times = {"load_s": loaded[name], "speed": (*_kept(found[name], timing, machine), *speeds[name])}
            updated = found[name].model_copy(update={**times, "machine": machine})
            write_measurement(bundle.parent / MEASUREMENT, updated)

    speeds: dict[str, tuple[Speed, ...]] = {}
    for speeds in measure_speeds(bundles, timing, config.sample_files(), tell):
        if not any(measurement.speed for measurement in found.values()):
            write(speeds)  # a run that is stopped keeps whole repeats, where no earlier run's give way to them
    write(speeds)
    return failed


def _is_timed(measurement: Measurement, timing: Timing) -> bool:
    """Whether it has a speed for each number of threads and each beam width, of as many images and repeats."""
    thorough = {
        (speed.threads, speed.beam_width)
        for speed in measurement.speed
        if speed.images >= timing.images and speed.repeats >= timing.repeats
    }
    return measurement.load_s is not None and _wanted(timing) <= thorough


def _wanted(timing: Timing) -> set[tuple[int, int]]:
    return {(threads, width) for threads in timing.threads for width in timing.beam_widths}


def _kept(measurement: Measurement, timing: Timing, machine: Machine) -> tuple[Speed, ...]:
    """Speeds of earlier runs that this one doesn't measure; none of another machine's."""
    if measurement.machine != machine:
        return ()
    wanted = _wanted(timing)
    return tuple(speed for speed in measurement.speed if (speed.threads, speed.beam_width) not in wanted)


def _load_s(bundle: Path, runs: int) -> float | str:
    """Seconds to load a captioner, or why it can't be loaded."""
    try:
        return measure_loading(bundle, runs=runs).load_s
    except CapstanError as error:
        return str(error)

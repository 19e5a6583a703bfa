"""A benchmark from beginning to end: rounds in which all take turns, then the report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from caption_core.engine.cluster import ClusterKind, connected
from caption_core.engine.interruption import interruptible
from caption_core.errors import BundleError, UsageError
from compression.benchmark.config import BenchmarkConfig
from compression.benchmark.jobs import JobTime, Point, captioner_of, points_of, run_job
from compression.benchmark.repeated_images import RepeatedImages
from compression.benchmark.report import rows_of, tables_of, write_report
from compression.measuring.fresh_process import measure_afresh
from compression.measuring.start_line import call_off

_LOOP_IMAGES = 2048  # enough for a steady rate; all of a job's would take as long as the job


@dataclass(frozen=True, slots=True)
class Measured:
    """A point's repeats.

    Attributes:
        point: the combination.
        jobs: one a repeat.
        stages: seconds an image by stage, of the loop by hand as `loop`, and as `loop_at_once`, where this machine has
            the cores, of as many of them at once as there are actors; one a repeat, empty where none were measured.
    """

    point: Point
    jobs: list[JobTime] = field(default_factory=list)
    stages: list[Mapping[str, float]] = field(default_factory=list)


def run_benchmark(config: BenchmarkConfig, tell: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Measure the sweep, and write the report's files; returns them.

    Where it is stopped or a job fails, the report is of the whole repeats that there are by then.

    Raises:
        UsageError: the images or a captioner can't be used; found before anything runs.
        CapstanError: a job fails.
        Interrupted: a signal ended it.
    """
    images = RepeatedImages.of(config.images, config.num_images, in_memory=config.source == "memory")
    _check_captioners(config)
    config.output.mkdir(parents=True, exist_ok=True)
    if len(config.pools()) < len(config.actors) * len(config.cpus_per_actor):
        tell("pools that this machine is too small for are left out")
    measured = [Measured(point) for point in points_of(config)]
    machines: list[str] = []
    with interruptible():
        try:
            for repeat in range(config.repeats):
                _take_turns(config, images, measured, repeat, tell)
                machines = machines or _machines(config)
        except BaseException:
            whole = min(len(one.jobs) for one in measured)
            for path in _report_whole(config, images, measured, whole, machines, tell):
                tell(f"of {whole} whole repeats: {path}")
            raise
    return _report(config, images, measured, machines, tell)


def _report(
    config: BenchmarkConfig,
    images: RepeatedImages,
    measured: list[Measured],
    machines: list[str],
    tell: Callable[[str], None],
) -> list[Path]:
    rows = rows_of(measured, config.decoders)
    files = write_report(config, images, rows, machines)
    tell(tables_of(rows))
    return files


def _machines(config: BenchmarkConfig) -> list[str]:
    """Those of a cluster that was joined and has grown for its jobs; none where it has gone."""
    if config.cluster.kind is ClusterKind.LOCAL:
        return []
    with suppress(Exception), connected(config.cluster) as cluster:  # what was measured is worth more
        return cluster.machines()
    return []


def _take_turns(
    config: BenchmarkConfig, images: RepeatedImages, measured: list[Measured], repeat: int, tell: Callable[[str], None]
) -> None:
    """One repeat of each."""
    stages: dict[Point, Mapping[str, float]] = {}
    for one in measured:
        tell(f"repeat {repeat + 1} of {config.repeats}: {describe(one.point)}")
        if config.stages and config.variants[one.point.variant] is not None:
            one.stages.append(_stages(config, images, one.point, stages))
        one.jobs.append(run_job(config, images, one.point))
        done = one.jobs[-1]
        tell(f"  {done.steady_images_per_s:,.1f} images/s steady, first part in {done.first_part_s:.1f} s")


def _report_whole(
    config: BenchmarkConfig,
    images: RepeatedImages,
    measured: list[Measured],
    repeats: int,
    machines: list[str],
    tell: Callable[[str], None],
) -> list[Path]:
    """The report of the first repeats, if there are any."""
    if not repeats:
        return []
    whole = [Measured(one.point, one.jobs[:repeats], one.stages[:repeats]) for one in measured]
    return _report(replace(config, repeats=repeats), images, whole, machines, tell)


def describe(point: Point) -> str:
    """A point in words."""
    width = "" if point.beam_width is None else f", beam {point.beam_width}"
    precision = "" if point.precision is None else f", {point.precision}"
    pool = f"{point.actors} actor{'s' if point.actors > 1 else ''}"
    pool += f" of {point.cpus_per_actor} CPUs" if point.cpus_per_actor > 1 else ""
    return f"{point.variant}, {pool}, batch {point.batch_size}{width}{precision}"


def _check_captioners(config: BenchmarkConfig) -> None:
    for name in config.variants:
        _check_captioner(config, name)


def _check_captioner(config: BenchmarkConfig, name: str) -> None:
    try:
        captioner_of(config, Point(name, 1, 1, None)).check_gpus(config.gpus_per_actor)
    except BundleError as error:
        raise UsageError(f"{name}: {error}") from error


def _stages(
    config: BenchmarkConfig, images: RepeatedImages, point: Point, known: dict[Point, Mapping[str, float]]
) -> Mapping[str, float]:
    """Stages and a loop alone, once a repeat for all sizes of the pool; and loops at once, as many as actors."""
    alike = replace(point, actors=1)
    if alike not in known:
        stages = measure_afresh("stages", **_request(config, images, point))
        known[alike] = stages | {"loop": _loops(config, images, point, 1)}
    if point.actors == 1:
        return {**known[alike], "loop_at_once": known[alike]["loop"]}
    if config.decoders or point.actors * point.cpus_per_actor > len(os.sched_getaffinity(0)):
        return known[alike]  # the actors have CPUs that loops on this machine haven't
    return {**known[alike], "loop_at_once": _loops(config, images, point, point.actors)}


def _loops(config: BenchmarkConfig, images: RepeatedImages, point: Point, together: int) -> float:
    """Seconds an image of each of so many loops at once, by the sum of their rates."""
    request = _request(config, images, point) | {"together": together}
    with tempfile.TemporaryDirectory(prefix="capstan-start-") as start, ThreadPoolExecutor(together) as pool:
        run = partial(measure_afresh, "loop", **request, start=start)
        loops = [pool.submit(run, slot=slot) for slot in range(together)]
        try:
            rates = [1 / loop.result() for loop in as_completed(loops)]
        except BaseException:
            call_off(Path(start))
            raise
    return together / sum(rates)


def _request(config: BenchmarkConfig, images: RepeatedImages, point: Point) -> dict[str, Any]:
    return {
        "bundle": config.variants[point.variant],
        "threads": point.cpus_per_actor,
        "files": [Path(unquote(urlsplit(ref.uri).path)) for ref in images.refs],
        "beam_width": point.beam_width,
        "batch": point.batch_size,
        "precision": point.precision or "float32",
        "images": min(config.num_images, max(2 * point.batch_size, _LOOP_IMAGES)),
    }

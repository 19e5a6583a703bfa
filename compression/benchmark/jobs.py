"""Captioning jobs as a user starts them, timed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from caption_core.archive.sources.combined import CombinedSource
from caption_core.bundle import open_bundle
from caption_core.engine.captioner_spec import CaptionerSpec, bundle_captioner
from caption_core.engine.captioning_config import CaptioningConfig, SearchOverrides
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.pool_size import ActorRange
from caption_core.errors import CapstanError
from compression.benchmark.config import BenchmarkConfig
from compression.benchmark.noop import noop_captioner
from compression.benchmark.repeated_images import RepeatedImages


@dataclass(frozen=True, slots=True)
class Point:
    """A combination of the sweep.

    Attributes:
        variant: the captioner's name.
        actors: of the pool.
        batch_size: images in one call of the captioner.
        beam_width: of the search; None for the captioner's own.
        precision: of a float captioner's activations; None for the captioner's own.
        cpus_per_actor: that an actor claims and uses.
    """

    variant: str
    actors: int
    batch_size: int
    beam_width: int | None
    precision: str | None = None
    cpus_per_actor: int = 1


@dataclass(frozen=True, slots=True)
class JobTime:
    """One job.

    Attributes:
        steady_images_per_s: from the moment the first shard was done.
        overall_images_per_s: start-up included.
        first_part_s: from the job's first action to its first committed part, Ray's start included.
        peak_memory_bytes: of the actor that had most, at any time.
    """

    steady_images_per_s: float
    overall_images_per_s: float
    first_part_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class _Run(CaptioningConfig):
    """A run over images that are repeated."""

    repeated: RepeatedImages | None = None

    def open_source(self) -> CombinedSource:
        """See `CaptioningConfig`."""
        assert self.repeated is not None
        return CombinedSource((("images", self.repeated),))


def points_of(config: BenchmarkConfig) -> Iterator[Point]:
    """The sweep, in order."""
    widths = config.beam_widths or (None,)
    for variant in config.variants:
        precisions: tuple[str | None, ...] = config.precisions if _is_float(config, variant) else (None,)
        for (actors, cpus), batch, width, precision in product(config.pools(), config.batch_sizes, widths, precisions):
            yield Point(variant, actors, batch, width, precision, cpus)


def _is_float(config: BenchmarkConfig, variant: str) -> bool:
    bundle = config.variants[variant]
    return bundle is not None and open_bundle(bundle).manifest.runtime == "tensorflow"


def captioner_of(config: BenchmarkConfig, point: Point) -> CaptionerSpec:
    """A point's variant as a run is given it.

    Raises:
        BundleError: the bundle is missing or damaged.
    """
    bundle = config.variants[point.variant]
    return noop_captioner() if bundle is None else bundle_captioner(bundle, point.precision or "float32")


def run_job(config: BenchmarkConfig, images: RepeatedImages, point: Point) -> JobTime:
    """Run one job; what it writes is deleted.

    Raises:
        CapstanError: it fails, or leaves images without captions.
    """
    captioner = captioner_of(config, point)
    # Below the output, for the cluster's machines must see it.
    with tempfile.TemporaryDirectory(prefix=".run-", dir=config.output) as folder, Path(os.devnull).open("w") as silent:
        run = _Run(
            inputs=(str(config.images),),
            output=str(Path(folder) / "captions"),
            actors=ActorRange(point.actors, point.actors),
            claim=config.claim(point.cpus_per_actor),
            batch_size=point.batch_size,
            shard_size=config.shard_size,
            search=SearchOverrides(beam_width=point.beam_width),
            cluster=config.cluster,
            repeated=images,
        )
        begun_s = time.time()
        report = run_captioning(run, captioner, silent)
    if report.counts.failed:
        raise CapstanError(f"{report.counts.failed:,} images could not be captioned ({report.counts.kinds()})")
    tally = report.tally
    steady, first_s = tally.steady_rate(), tally.first_shard_s
    assert steady is not None
    assert first_s is not None
    return JobTime(steady, report.counts.total / report.seconds, first_s - begun_s, tally.peak_memory_bytes)

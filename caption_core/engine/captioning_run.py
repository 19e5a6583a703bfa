"""A captioning run from beginning to end: plan, resume, caption, reconcile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TextIO

from caption_core.archive.attempts import forget_attempts
from caption_core.archive.output_folder import STATE_FOLDER, check_apart, held_output_folder, write_run_record
from caption_core.archive.parts import PartFooter
from caption_core.archive.run_state import RunIdentity, committed_parts, reconcile
from caption_core.archive.shards import Shard, ShardPlan, plan_shards
from caption_core.archive.sources.folder import IMAGE_EXTENSIONS, FolderSource
from caption_core.archive.sources.source import ImageSource
from caption_core.engine.actor_pool import caption_shards
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.cluster import Cluster, ClusterConfig, ClusterKind, connected
from caption_core.engine.interruption import interruptible
from caption_core.engine.native_stderr import native_stderr_in
from caption_core.engine.pool_size import ActorRange, fit_pool
from caption_core.engine.progress import show_progress, stall_notices
from caption_core.engine.run_report import RunReport
from caption_core.engine.shard_captioner import CaptioningWork, ShardSummary
from caption_core.engine.throughput import steady_rate
from caption_core.errors import UsageError
from caption_core.images import ImageLimits
from caption_core.search import SearchSettings

# Raised when the columns of a part, or the rules by which an image becomes pixels, change: parts of different versions
# must not be mixed in one folder.
OUTPUT_VERSION = 1


@dataclass(frozen=True, slots=True)
class SearchOverrides:
    """Search settings that the user sets; None leaves the captioner's default."""

    beam_width: int | None = None
    max_tokens: int | None = None
    length_penalty: float | None = None

    def __post_init__(self) -> None:
        self.applied_to(SearchSettings())  # raises where one is out of range

    def applied_to(self, defaults: SearchSettings) -> SearchSettings:
        """The settings to search with."""
        return replace(defaults, **{name: value for name, value in asdict(self).items() if value is not None})


@dataclass(frozen=True, slots=True)
class CaptioningConfig:
    """A captioning run as the user asks for it.

    Attributes:
        source: folder of images.
        output: folder for the Parquet parts.
        actors: bounds of the pool; None for as many actors as fit.
        cpus_per_actor: CPUs each actor claims and its captioner uses.
        batch_size: images in one call of the captioner.
        shard_size: images a part; None for a default that depends on their number alone.
        search: what differs from the captioner's defaults.
        limits: caps an image must keep.
        follow_links: read files outside the folder too, where a link leads to them.
        cluster: where to run.
    """

    source: Path
    output: Path
    actors: ActorRange | None = None
    cpus_per_actor: int = 1
    batch_size: int = 32
    shard_size: int | None = None
    search: SearchOverrides = field(default_factory=SearchOverrides)
    limits: ImageLimits = field(default_factory=ImageLimits)
    follow_links: bool = False
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= 4096:
            raise UsageError(f"batch size must lie between 1 and 4,096, not {self.batch_size}")
        if not 1 <= self.cpus_per_actor <= 1024:
            raise UsageError(f"CPUs per actor must lie between 1 and 1,024, not {self.cpus_per_actor}")
        FolderSource.at(self.source)  # raises where there is none
        check_apart(self.source, self.output)


def run_captioning(config: CaptioningConfig, captioner: CaptionerSpec, stream: TextIO | None = None) -> RunReport:
    """Caption every image of a folder, or what an earlier run left of it.

    Args:
        config: what to do.
        captioner: which captioner to do it with.
        stream: where progress goes; standard error by default.

    Raises:
        UsageError: wrong input, output or settings, found before any image is read.
        CapstanError: the run failed; what is committed stays, and a rerun resumes.
        Interrupted: a signal ended the run; likewise.
    """
    started_s = time.monotonic()
    source = FolderSource.at(config.source, follow_links=config.follow_links)
    plan = _planned(source, config)
    work = _work(config, captioner, source, plan)
    with held_output_folder(work.output):
        done = committed_parts(work.output, work.identity)
        forget_attempts(work.output)
        write_run_record(work.output, work.identity)
        pending = [shard for shard in plan.shards if shard.shard_id not in done]
        summaries: list[ShardSummary] = []
        if pending:
            with native_stderr_in(work.output / STATE_FOLDER / "native.log") as stderr:
                summaries = _caption(pending, work, config, plan, stream or stderr)
            forget_attempts(work.output)
        return _report(plan, work, done, summaries, started_s)


def _planned(source: ImageSource, config: CaptioningConfig) -> ShardPlan:
    plan = plan_shards(source.list_refs(), config.shard_size)
    if not plan.shards:
        extensions = " ".join(extension.decode() for extension in IMAGE_EXTENSIONS)
        raise UsageError(f"{config.source}: no images here ({extensions})")
    return plan


def _work(config: CaptioningConfig, captioner: CaptionerSpec, source: ImageSource, plan: ShardPlan) -> CaptioningWork:
    search = config.search.applied_to(captioner.search)
    return CaptioningWork(
        source=source,
        output=config.output.resolve(),
        captioner=captioner,
        search=search,
        limits=config.limits,
        identity=_identity(captioner.model_id, search, config, plan),
        batch_size=config.batch_size,
        threads=config.cpus_per_actor,
    )


def _identity(model_id: str, search: SearchSettings, config: CaptioningConfig, plan: ShardPlan) -> RunIdentity:
    """All that determines a run's rows; the batch size and the cluster don't."""
    return RunIdentity(
        {
            "output_version": OUTPUT_VERSION,
            "model_id": model_id,
            **asdict(search),
            **asdict(config.limits),
            "follow_links": config.follow_links,
            "num_images": plan.num_images,
            "shard_size": plan.shard_size,
            "input_digest": plan.digest,
        }
    )


def _caption(
    pending: Sequence[Shard], work: CaptioningWork, config: CaptioningConfig, plan: ShardPlan, stream: TextIO
) -> list[ShardSummary]:
    _check_local_pool(config, len(pending))
    num_pending = sum(len(shard.refs) for shard in pending)
    progress = show_progress(plan.num_images, plan.num_images - num_pending, stream)
    shards = f"{len(pending):,} shard" + ("" if len(pending) == 1 else "s")
    progress.note(f"{num_pending:,} of {plan.num_images:,} images to caption, in {shards}")
    summaries = []
    try:
        with (
            connected(config.cluster) as cluster,
            interruptible(),
            stall_notices(progress, lambda: _shortage(cluster, config)) as happened,
        ):
            for summary in _summaries(pending, work, config, cluster, progress.note):
                happened()
                progress.add(summary.counts)
                summaries.append(summary)
    finally:
        progress.close()
    return summaries


def _check_local_pool(config: CaptioningConfig, num_shards: int) -> None:
    """Refuse before Ray starts what can't fit on this machine whatever Ray finds."""
    if config.cluster.kind is ClusterKind.LOCAL:
        cpus = config.cluster.cpus or len(os.sched_getaffinity(0))
        fit_pool(config.actors, config.cpus_per_actor, [cpus], num_shards, can_grow=False)


def _summaries(
    pending: Sequence[Shard],
    work: CaptioningWork,
    config: CaptioningConfig,
    cluster: Cluster,
    note: Callable[[str], None],
) -> Iterator[ShardSummary]:
    wanted = min(config.actors.minimum if config.actors else 1, len(pending))
    cluster.wait_for_actors(wanted, config.cpus_per_actor, config.cluster.wait_s, note)
    cpus = cluster.node_cpus()
    pool = fit_pool(config.actors, config.cpus_per_actor, cpus, len(pending), can_grow=cluster.can_grow)
    for text in pool.notes:
        note(text)
    note(f"{work.captioner.model_id} on {cluster.kind.value}: {pool.describe()}")
    yield from caption_shards(pending, work, pool)


def _shortage(cluster: Cluster, config: CaptioningConfig) -> str:
    free, total = cluster.free_cpus(), sum(cluster.node_cpus())
    if free < config.cpus_per_actor:
        return f"{free:g} of {total:g} CPUs are free, so captioners are at work or wait for CPUs that others hold"
    return f"{free:g} of {total:g} CPUs are free; captioners are starting or at work on large shards"


def _report(
    plan: ShardPlan,
    work: CaptioningWork,
    done: Mapping[int, PartFooter],
    summaries: Sequence[ShardSummary],
    started_s: float,
) -> RunReport:
    parts = committed_parts(work.output, work.identity)
    return RunReport(
        output=work.output,
        counts=reconcile(plan, parts),
        num_parts=len(parts),
        num_before=sum(footer.counts.total for footer in done.values()),
        seconds=time.monotonic() - started_s,
        steady_rate=steady_rate(summaries),
    )

"""A captioning run from beginning to end: plan, resume, caption, reconcile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from caption_core.archive.attempts import forget_attempts
from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import SUCCESS, held_output_folder
from caption_core.archive.run_progress import RunProgress, process_name, progress_written, read_progress
from caption_core.archive.run_record import STATE_FOLDER, state_folder
from caption_core.archive.run_state import committed_parts, reconcile
from caption_core.archive.storage import Storage
from caption_core.engine.actor_pool import caption_shards
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.cluster import Cluster, connected
from caption_core.engine.interruption import interruptible
from caption_core.engine.native_stderr import native_stderr_in
from caption_core.engine.pool_size import fit_pool, leave_cpus
from caption_core.engine.progress import show_progress, stall_notices
from caption_core.engine.run_report import RunReport
from caption_core.engine.run_setup import RunSetup, RunTask, begin_run
from caption_core.engine.throughput import RunTally
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.errors import CapstanError, UsageError
from caption_core.process_environment import bounded_environment

# A GPU waits while the first batch of a shard is decoded.
_BATCHES_A_GPUS_SHARD = 8

# Fewer images say little about an archive's.
_ERROR_RATE_NEEDS_IMAGES = 100


def run_captioning(config: CaptioningConfig, captioner: CaptionerSpec, stream: TextIO | None = None) -> RunReport:
    """Caption every image of the inputs, or what an earlier run left of them.

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
    source, output = config.open_source(), config.storage()
    # Both raise before anything is written.
    config.search.applied_to(captioner.search)
    captioner.check_gpus(config.claim.gpus)
    with held_output_folder(output):
        sign = _SignOfLife(state_folder(output))
        # From now on: in an object store nothing else keeps other runs out.
        with progress_written(state_folder(output), sign.moment) as write_progress:
            setup = begin_run(config, captioner, source)
            forget_attempts(state_folder(output))
            task = setup.task(config.retry_failed)
            tally = RunTally()
            if task.shard_ids:
                sign.at_work = lambda ended: _progress(setup, task, tally, ended)
                write_progress()
                # What is there is about to change, and so is whether it is all there.
                output.delete(SUCCESS)
                _caption(config, captioner, setup, task, tally, stream)
                forget_attempts(state_folder(output))
            return _finished(config, setup, tally, started_s)


class _SignOfLife:
    """What a run tells of itself while it works.

    Args:
        state: the run's state folder.

    Attributes:
        at_work: how far captioning is; None while the inputs are listed.
    """

    def __init__(self, state: Storage) -> None:
        self._before = read_progress(state)
        self.at_work: Callable[[bool], RunProgress] | None = None

    def moment(self, ended: bool) -> RunProgress:
        """See `progress_written`."""
        if self.at_work is not None:
            return self.at_work(ended)
        if ended and self._before is not None:
            return replace(self._before, ended=True)  # nothing was captioned since
        return RunProgress.of_listing(ended=ended)


def _caption(
    config: CaptioningConfig,
    captioner: CaptionerSpec,
    setup: RunSetup,
    task: RunTask,
    tally: RunTally,
    stream: TextIO | None,
) -> None:
    log = _native_log(setup)
    with (
        native_stderr_in(log) as stderr,
        closing(_summaries(config, work_of(config, captioner, setup), setup, task, stream or stderr)) as summaries,
    ):
        for summary in summaries:
            tally.add(summary)
            _check_error_rate(config, _judged(config, task, tally), is_end=False)


def _judged(config: CaptioningConfig, task: RunTask, tally: RunTally) -> OutcomeCounts:
    """What a run is judged by while it works: its own images, not what an earlier one failed at.

    A retry's own are those that failed before, so with them count those that didn't.
    """
    return tally.counts if config.retry_failed is None else OutcomeCounts(task.kept.ok) + tally.counts


def _native_log(setup: RunSetup) -> Path:
    folder = setup.output.local_folder
    return folder / STATE_FOLDER / "native.log" if folder else Path(os.devnull)


def work_of(config: CaptioningConfig, captioner: CaptionerSpec, setup: RunSetup) -> CaptioningWork:
    """What each actor of a run is told."""
    return CaptioningWork(
        source=setup.source,
        output=setup.output,
        captioner=captioner,
        search=setup.search,
        limits=config.limits,
        identity=setup.record.identity,
        batch_size=config.batch_size,
        threads=config.claim.cpus,
        gpus=config.claim.gpus,
        decoders=config.claim.decoders,
        image_timeout_s=config.image_timeout_s,
        dedup=config.dedup,
        retry=config.retry_failed,
    )


def _summaries(
    config: CaptioningConfig, work: CaptioningWork, setup: RunSetup, task: RunTask, stream: TextIO
) -> Generator[ShardSummary, None, None]:
    """Summaries of shards as they are done, with progress shown."""
    num_shards = len(task.shard_ids)
    total = setup.record.plan.num_images
    progress = show_progress(total, task.kept.total, stream)
    if setup.num_renamed:
        progress.note(f"{setup.num_renamed:,} images got another image id, since an earlier one has theirs ('…#2')")
    if config.claim.gpus and setup.record.plan.shard_size < _BATCHES_A_GPUS_SHARD * config.batch_size:
        progress.note(
            f"shards of {setup.record.plan.shard_size:,} images keep GPUs waiting, for nothing is decoded ahead from "
            f"one to the next: a new output with --shard-size {_BATCHES_A_GPUS_SHARD * config.batch_size:,} is faster"
        )
    shards = f"{num_shards:,} shard" + ("" if num_shards == 1 else "s")
    progress.note(f"{task.num_images:,} of {total:,} images to caption, in {shards}")
    try:
        with (
            connected(replace(config.cluster, variables=bounded_environment(config.claim.cpus))) as cluster,
            interruptible(),
            stall_notices(progress, lambda: _shortage(cluster, config)) as happened,
        ):
            for summary in _from_pool(config, work, task, cluster, progress.note):
                happened()
                progress.add(summary.counts)
                yield summary
    finally:
        progress.close()


def _from_pool(
    config: CaptioningConfig, work: CaptioningWork, task: RunTask, cluster: Cluster, note: Callable[[str], None]
) -> Iterator[ShardSummary]:
    num_shards = len(task.shard_ids)
    wanted = min(config.actors.minimum if config.actors else 1, num_shards)
    cluster.wait_for_actors(wanted, config.claim, config.cluster.wait_s, note)
    cpus = cluster.node_cpus(config.claim)
    if config.claim.gpus and not any(cpus):
        raise UsageError(f"an actor needs {config.claim.gpus:g} GPUs, and no machine of {cluster.kind.value} has them")
    pool = fit_pool(config.actors, config.claim.cpus, cpus, num_shards, can_grow=cluster.can_grow)
    pool = leave_cpus(pool, config.actors, config.claim, sum(cluster.node_cpus()))
    for text in pool.notes:
        note(text)
    note(f"{work.captioner.model_id} on {cluster.kind.value}: {pool.describe()}")
    yield from caption_shards(task.shard_ids, work, pool.maximum, cluster.worker_options, note)


def _shortage(cluster: Cluster, config: CaptioningConfig) -> str:
    free, total = cluster.free_cpus(), sum(cluster.node_cpus())
    if free < config.claim.cpus:
        return f"{free:g} of {total:g} CPUs are free, so captioners are at work or wait for CPUs that others hold"
    return f"{free:g} of {total:g} CPUs are free; captioners are starting or at work on large shards"


def _progress(setup: RunSetup, task: RunTask, tally: RunTally, ended: bool) -> RunProgress:
    return RunProgress(
        num_images=setup.record.plan.num_images,
        num_done=task.kept.total + tally.counts.total,
        num_failed=tally.counts.failed,
        images_per_s=tally.steady_rate(),
        written_s=time.time(),
        process=process_name(),
        ended=ended,
    )


def _check_error_rate(config: CaptioningConfig, counts: OutcomeCounts, *, is_end: bool) -> None:
    if config.max_error_rate is None or (counts.total < _ERROR_RATE_NEEDS_IMAGES and not is_end):
        return
    if counts.failed > config.max_error_rate * counts.total:
        raise CapstanError(
            f"{counts.failed:,} of {counts.total:,} images failed ({counts.kinds()}), which is more than the share of "
            f"{config.max_error_rate:g} that --max-error-rate allows; what is captioned stays, and --retry-failed "
            "tries again what failed, in earlier runs too"
        )


def _finished(config: CaptioningConfig, setup: RunSetup, tally: RunTally, started_s: float) -> RunReport:
    # Read again what this run wrote; without a shard of its own they were read a moment ago.
    parts = committed_parts(setup.output, setup.record.identity) if tally.num_shards else setup.done
    report = RunReport(
        output=setup.output,
        record=setup.record,
        counts=reconcile(setup.record.plan, parts),
        num_parts=len(parts),
        num_before=setup.num_done,
        retried=config.retry_failed is not None,
        seconds=time.monotonic() - started_s,
        tally=tally,
    )
    _check_error_rate(config, report.counts, is_end=True)
    if tally.num_shards or not setup.output.exists(SUCCESS):
        report.write()
    return report

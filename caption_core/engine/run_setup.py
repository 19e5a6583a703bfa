"""From what the user asks for to a plan on disk and a list of pending shards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from caption_core.archive.outcomes import OutcomeCounts, output_schema, sum_counts
from caption_core.archive.output_folder import clear_output
from caption_core.archive.plan_files import PlannedRefs, PlanReader, first_difference, write_plan
from caption_core.archive.run_record import (
    RunRecord,
    begin_record,
    new_plan_folder,
    read_record,
    remove_other_plans,
    state_folder,
    write_record,
)
from caption_core.archive.run_state import OtherRunError, RunIdentity, committed_parts
from caption_core.archive.shard_order import heavy_first, shard_bytes
from caption_core.archive.shards import ShardPlan, chosen_shard_size
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.storage import Storage
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.cluster import ClusterKind
from caption_core.engine.pool_size import ActorRange, fit_pool, leave_cpus
from caption_core.errors import UsageError
from caption_core.records import ErrorKind
from caption_core.search import SearchSettings

# Raised when the columns of a part, or the rules by which an image becomes pixels, change: parts of different versions
# must not be mixed in one folder.
OUTPUT_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunTask:
    """What is to be done now.

    Attributes:
        shard_ids: to work on, in the order in which they should be begun.
        num_images: in them, to work on.
        kept: rows that stay as they are.
    """

    shard_ids: Sequence[int]
    num_images: int
    kept: OutcomeCounts


@dataclass(frozen=True, slots=True)
class RunSetup:
    """A run that is ready to begin.

    Attributes:
        source: the inputs.
        output: where the parts go.
        record: settings and plan.
        search: the settings to search with.
        done: the shards that are finished, and how their images ended.
        shard_bytes: of each shard's images, as far as is known, (shards,); None where shards are begun in order, since
            the rate of failures is watched: among the largest files it may be another.
        num_renamed: images that got another id, since an earlier image has theirs.
    """

    source: CombinedSource
    output: Storage
    record: RunRecord
    search: SearchSettings
    done: Mapping[int, OutcomeCounts]
    shard_bytes: NDArray[np.float64] | None
    num_renamed: int

    @property
    def num_done(self) -> int:
        """Images that have a row."""
        return sum_counts(self.done.values()).total

    def task(self, retry: Iterable[ErrorKind] | None) -> RunTask:
        """What is to be done.

        Args:
            retry: kinds of failures to try again; None to leave them.
        """
        plan = self.record.plan
        pending = [shard_id for shard_id in range(plan.num_shards) if shard_id not in self.done]
        num_pending = sum(len(plan.images_of(shard_id)) for shard_id in pending)
        kinds = {kind.value for kind in retry or ()}
        done = sum_counts(self.done.values())
        kept = OutcomeCounts(done.ok, {kind: n for kind, n in done.failed_by_kind.items() if kind not in kinds})
        failing = [shard_id for shard_id, counts in self.done.items() if kinds & counts.failed_by_kind.keys()]
        first = pending if self.shard_bytes is None else heavy_first(pending, self.shard_bytes)
        # Of these only what failed is tried again: single images, mostly.
        shard_ids = [*first, *sorted(failing)]
        return RunTask(shard_ids, num_pending + done.total - kept.total, kept)


def begin_run(config: CaptioningConfig, captioner: CaptionerSpec, source: CombinedSource) -> RunSetup:
    """List the inputs, write the plan into the output folder, which is held, and see what is done.

    Raises:
        UsageError: the input can't be listed or holds no image; the output folder holds another run's captions.
    """
    output = config.storage()
    state = state_folder(output)
    earlier = read_record(output)
    remove_other_plans(output, earlier.plan_folder if earlier else None)
    folder = new_plan_folder()
    try:
        setup = _set_up(config, captioner, source, folder, state.sub(folder))
    except BaseException:
        state.sub(folder).delete_all()
        raise
    if config.overwrite:
        clear_output(output)
    write_record(output, setup.record)
    remove_other_plans(output, folder)
    return setup


def preview_run(config: CaptioningConfig, captioner: CaptionerSpec, source: CombinedSource) -> RunSetup:
    """List the inputs and see what is done, and write nothing."""
    captioner.check_gpus(config.claim.gpus)
    with tempfile.TemporaryDirectory(prefix="capstan-plan-") as folder:
        return _set_up(config, captioner, source, "", Storage.at(folder))


def _set_up(
    config: CaptioningConfig, captioner: CaptionerSpec, source: CombinedSource, folder: str, plan_storage: Storage
) -> RunSetup:
    output_schema(source.carried())  # raises where columns collide
    planned = _planned(config, source, plan_storage)
    plan = _plan(planned, config.shard_size)
    plan = _as_before_repairs(config, plan, plan_storage)
    search = config.search.applied_to(captioner.search)
    identity = _identity(captioner, search, config, plan, source.version())
    record = begin_record(identity, plan, folder, config.inputs, read_record(config.storage()))
    done = {} if config.overwrite else _done(config.storage(), record, plan_storage)
    weights = None if config.max_error_rate is not None else shard_bytes(plan, planned.sizes)
    setup = RunSetup(source, config.storage(), record, search, done, weights, planned.num_renamed)
    _check_local_pool(config, len(setup.task(config.retry_failed).shard_ids))
    return setup


def _check_local_pool(config: CaptioningConfig, num_shards: int) -> None:
    """Refuse before anything is written what can't fit on this machine whatever Ray finds."""
    if num_shards and config.cluster.kind is ClusterKind.LOCAL:
        cpus = config.cluster.cpus or len(os.sched_getaffinity(0))
        # The GPUs are known to Ray alone.
        asked = ActorRange(1, 1) if config.claim.gpus else config.actors
        pool = fit_pool(asked, config.claim.cpus, [cpus], num_shards, can_grow=False)
        leave_cpus(pool, asked, config.claim, cpus)


def _planned(config: CaptioningConfig, source: CombinedSource, folder: Storage) -> PlannedRefs:
    folder.make()
    planned = write_plan(_first(source.list_refs(), config.limit), folder)
    if not planned.num_images:
        raise UsageError(f"{', '.join(config.inputs)}: no images here")
    return planned


def _plan(planned: PlannedRefs, shard_size: int | None) -> ShardPlan:
    return ShardPlan(
        num_images=planned.num_images,
        shard_size=chosen_shard_size(planned.num_images, shard_size),
        digest=planned.digest,
        num_bytes=planned.num_bytes,
        num_unsized=planned.num_unsized,
    )


def _identity(
    captioner: CaptionerSpec, search: SearchSettings, config: CaptioningConfig, plan: ShardPlan, input_version: str
) -> RunIdentity:
    """All that determines a run's rows; the batch size and the cluster don't."""
    return RunIdentity(
        {
            "output_version": OUTPUT_VERSION,
            "model_id": captioner.model_id,
            "precision": captioner.precision,
            **asdict(search),
            **asdict(config.limits),
            "follow_links": config.options.follow_links,
            "carry": ",".join(f"{name}={other}" for name, other in config.options.carry),
            "num_images": plan.num_images,
            "shard_size": plan.shard_size,
            "input_digest": plan.digest,
            "input_version": input_version,
        }
    )


def _done(output: Storage, record: RunRecord, plan_storage: Storage) -> dict[int, OutcomeCounts]:
    try:
        return committed_parts(output, record.identity)
    except OtherRunError as error:
        raise OtherRunError(output, error.differences, _changed_input(output, record, plan_storage)) from error


def _changed_input(output: Storage, record: RunRecord, plan_storage: Storage) -> str:
    """The first difference between the input as it was and as it is; empty where it is the same, or not known."""
    earlier = read_record(output)
    if earlier is None or earlier.plan.digest == record.plan.digest:
        return ""
    return _difference(output, earlier, plan_storage, sizes_matter=True) or ""


def _as_before_repairs(config: CaptioningConfig, plan: ShardPlan, plan_storage: Storage) -> ShardPlan:
    """The plan under the digest that it had before files were mended.

    Who retries may have mended files, so another size is no other input then. From then on the references on disk are
    those of the mended files, and the digest is still that of the parts.
    """
    output = config.storage()
    earlier = read_record(output)
    if earlier is None or earlier.plan.digest == plan.digest:
        return plan
    if _difference(output, earlier, plan_storage, sizes_matter=config.retry_failed is None) == "":
        return replace(plan, digest=earlier.plan.digest)
    return plan


def _difference(output: Storage, earlier: RunRecord, plan_storage: Storage, *, sizes_matter: bool) -> str | None:
    """The first difference between an earlier run's references and these; None where those can't be read."""
    try:
        before = PlanReader(state_folder(output).sub(earlier.plan_folder)).batches()
        return first_difference(before, PlanReader(plan_storage).batches(), sizes_matter=sizes_matter)
    except (OSError, pa.ArrowInvalid):
        return None


def _first(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The first rows, and no more of the listing than they need."""
    left = limit
    for batch in batches:
        if left is None:
            yield batch
            continue
        yield batch.slice(0, left)
        left -= min(left, len(batch))
        if not left:
            return


def describe_plan(setup: RunSetup, config: CaptioningConfig) -> list[str]:
    """What would run, and what is done, for a person."""
    plan, settings = setup.record.plan, setup.record.identity.settings
    task = setup.task(config.retry_failed)
    failed = sum_counts(setup.done.values()).failed
    search = ", ".join(f"{name} {settings[name]}" for name in ("beam_width", "max_tokens", "length_penalty"))
    lines = [
        f"input: {', '.join(config.inputs)}",
        f"output: {setup.output}",
        f"images: {plan.num_images:,} ({_sizes(plan)})",
        f"shards: {plan.num_shards:,} of {plan.shard_size:,} images",
        f"done: {len(setup.done):,} shards with {setup.num_done:,} images, {failed:,} of them failed",
        f"to do: {len(task.shard_ids):,} shards with {task.num_images:,} images",
        f"captioner: {settings['model_id']}; {search}",
    ]
    if setup.num_renamed:
        lines.append(f"renamed: {setup.num_renamed:,} images, whose names other images have already")
    return lines


def _sizes(plan: ShardPlan) -> str:
    if plan.num_unsized == plan.num_images:
        return "of unknown size"
    return f"{plan.num_bytes:,} bytes" + (f", and {plan.num_unsized:,} of unknown size" if plan.num_unsized else "")

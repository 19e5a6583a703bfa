"""From what the user asks for to a plan on disk and a list of pending shards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

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
from caption_core.archive.shards import ShardPlan, chosen_shard_size
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.storage import Storage
from caption_core.engine.captioner_spec import CaptionerSpec
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.errors import UsageError
from caption_core.search import SearchSettings

# Raised when the columns of a part, or the rules by which an image becomes pixels, change: parts of different versions
# must not be mixed in one folder.
OUTPUT_VERSION = 2


@dataclass(frozen=True, slots=True)
class RunSetup:
    """A run that is ready to begin.

    Attributes:
        source: the inputs.
        output: where the parts go.
        record: settings and plan.
        search: the settings to search with.
        done: the shards that are finished, and how their images ended.
        num_renamed: images that got another id, since an earlier image has theirs.
    """

    source: CombinedSource
    output: Storage
    record: RunRecord
    search: SearchSettings
    done: Mapping[int, OutcomeCounts]
    num_renamed: int

    @property
    def num_done(self) -> int:
        """Images that have a row."""
        return sum_counts(self.done.values()).total

    def pending(self) -> list[int]:
        """Shards without a part, in order."""
        return [shard_id for shard_id in range(self.record.plan.num_shards) if shard_id not in self.done]

    def failing(self, kinds: Iterable[str]) -> list[int]:
        """Finished shards with failures of some kinds, in order."""
        wanted = set(kinds)
        return [shard_id for shard_id, counts in self.done.items() if wanted & counts.failed_by_kind.keys()]


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
    with tempfile.TemporaryDirectory(prefix="capstan-plan-") as folder:
        return _set_up(config, captioner, source, "", Storage.at(folder))


def _set_up(
    config: CaptioningConfig, captioner: CaptionerSpec, source: CombinedSource, folder: str, plan_storage: Storage
) -> RunSetup:
    output_schema(source.carried())  # raises where columns collide
    planned = _planned(config, source, plan_storage)
    plan = _plan(planned, config.shard_size)
    if config.retry_failed is not None:
        plan = _as_before_repairs(config.storage(), plan, plan_storage)
    search = config.search.applied_to(captioner.search)
    record = begin_record(_identity(captioner.model_id, search, config, plan), plan, folder, config.inputs)
    done = {} if config.overwrite else _done(config.storage(), record, plan_storage)
    return RunSetup(source, config.storage(), record, search, done, planned.num_renamed)


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


def _identity(model_id: str, search: SearchSettings, config: CaptioningConfig, plan: ShardPlan) -> RunIdentity:
    """All that determines a run's rows; the batch size and the cluster don't."""
    return RunIdentity(
        {
            "output_version": OUTPUT_VERSION,
            "model_id": model_id,
            **asdict(search),
            **asdict(config.limits),
            "follow_links": config.options.follow_links,
            "carry": ",".join(f"{name}={other}" for name, other in config.options.carry),
            "num_images": plan.num_images,
            "shard_size": plan.shard_size,
            "input_digest": plan.digest,
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


def _as_before_repairs(output: Storage, plan: ShardPlan, plan_storage: Storage) -> ShardPlan:
    """The earlier run's plan, where the input differs from it in sizes alone: who retries may have mended files."""
    earlier = read_record(output)
    if earlier is None or earlier.plan.digest == plan.digest:
        return plan
    if _difference(output, earlier, plan_storage, sizes_matter=False) == "":
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


def describe_plan(setup: RunSetup, inputs: Sequence[str]) -> list[str]:
    """What would run, and what is done, for a person."""
    plan, settings = setup.record.plan, setup.record.identity.settings
    pending = setup.pending()
    images = sum(len(plan.images_of(shard_id)) for shard_id in pending)
    failed = sum_counts(setup.done.values()).failed
    search = ", ".join(f"{name} {settings[name]}" for name in ("beam_width", "max_tokens", "length_penalty"))
    lines = [
        f"input: {', '.join(inputs)}",
        f"output: {setup.output}",
        f"images: {plan.num_images:,} ({_sizes(plan)})",
        f"shards: {plan.num_shards:,} of {plan.shard_size:,} images",
        f"done: {len(setup.done):,} shards with {setup.num_done:,} images, {failed:,} of them failed",
        f"to do: {len(pending):,} shards with {images:,} images",
        f"captioner: {settings['model_id']}; {search}",
    ]
    if setup.num_renamed:
        lines.append(f"renamed: {setup.num_renamed:,} images, whose names other images have already")
    return lines


def _sizes(plan: ShardPlan) -> str:
    if plan.num_unsized == plan.num_images:
        return "of unknown size"
    return f"{plan.num_bytes:,} bytes" + (f", and {plan.num_unsized:,} of unknown size" if plan.num_unsized else "")

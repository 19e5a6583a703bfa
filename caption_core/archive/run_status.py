"""What an output folder alone tells of its run."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from caption_core.archive.outcomes import OutcomeCounts, sum_counts
from caption_core.archive.output_folder import SUCCESS, is_held
from caption_core.archive.run_progress import RunProgress, read_progress
from caption_core.archive.run_record import RunRecord, read_record, state_folder
from caption_core.archive.run_state import part_counts
from caption_core.archive.storage import Storage
from caption_core.errors import UsageError


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run as its output folder shows it.

    Attributes:
        output: of the run.
        state: 'running', 'stopped' or 'finished'.
        record: as the run began.
        counts: of all parts that are there.
        num_parts: that are there.
        progress: as the driver last wrote it; None where it never did.
    """

    output: Storage
    state: str
    record: RunRecord
    counts: OutcomeCounts
    num_parts: int
    progress: RunProgress | None

    def lines(self) -> list[str]:
        """For a person."""
        plan, counts = self.record.plan, self.counts
        share = 100 * counts.total / plan.num_images if plan.num_images else 100.0
        lines = [
            f"{self.output}: {self.state}",
            f"begun: {self.record.begun_at}",
            f"input: {', '.join(self.record.inputs)}",
            f"captioner: {self.record.identity.settings.get('model_id', 'unknown')}",
            f"shards: {self.num_parts:,} of {plan.num_shards:,} are done",
            f"images: {counts.total:,} of {plan.num_images:,} ({share:.1f} %), {counts.ok:,} captioned, "
            f"{counts.failed:,} failed" + (f" ({counts.kinds()})" if counts.failed else ""),
        ]
        return lines + ([self._speed(self.progress)] if self.progress else [])

    def as_json(self) -> str:
        """For a program."""
        plan = self.record.plan
        values = {
            "state": self.state,
            "begun_at": self.record.begun_at,
            "inputs": list(self.record.inputs),
            "images": plan.num_images,
            "shards": plan.num_shards,
            "shards_done": self.num_parts,
            "ok": self.counts.ok,
            "failed": self.counts.failed,
            "failed_by_kind": dict(self.counts.failed_by_kind),
            "images_per_s": self.progress.images_per_s if self.progress else None,
            "last_sign_s": self.progress.written_s if self.progress else None,
            "process": self.progress.process if self.progress else None,
            "listing": self._is_listing,
            "settings": dict(self.record.identity.settings),
        }
        return json.dumps(values, indent=2)

    @property
    def _is_listing(self) -> bool:
        return self.state == "running" and self.progress is not None and self.progress.listing

    def _speed(self, progress: RunProgress) -> str:
        text = f"driver: {progress.process}, last heard of {time.time() - progress.written_s:.0f} s ago"
        if self._is_listing:
            text += ", listing the inputs"
        if progress.images_per_s and self.state == "running":
            left_s = (progress.num_images - progress.num_done) / progress.images_per_s
            text += f", {progress.images_per_s:.1f} images/s, {left_s / 3600:.1f} h left"
        return text


def read_status(output: Storage) -> RunStatus:
    """Look at an output folder; nothing is written, and a run that works there isn't disturbed.

    Raises:
        UsageError: no run has begun there.
        PartError: a part is damaged.
    """
    record, progress = read_record(output), read_progress(state_folder(output))
    if record is None and progress is not None and progress.is_alive:
        raise UsageError(f"{output}: a run has just begun here, and still lists its inputs")
    if record is None:
        raise UsageError(f"{output}: no captioning run has begun here")
    parts = part_counts(output)
    return RunStatus(output, _state(output, progress), record, sum_counts(parts.values()), len(parts), progress)


def _state(output: Storage, progress: RunProgress | None) -> str:
    # Where nobody can ask for the lock, on another machine or without permission, the driver's last sign tells.
    if is_held(output) or (progress is not None and progress.is_alive):
        return "running"
    return "finished" if output.exists(SUCCESS) else "stopped"

"""What a run came to, for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

import caption_core
from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import REPORT_FOLDER, SUCCESS
from caption_core.archive.run_record import RunRecord
from caption_core.archive.storage import Storage
from caption_core.engine.throughput import RunTally

_SUMMARY = "summary.json"


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run.

    Attributes:
        output: of the parts.
        record: what the run was.
        counts: of all parts; reconciled with the plan.
        num_parts: Parquet parts.
        num_before: images with a row before this run began.
        retried: whether this run tried failures again.
        seconds: this run's duration from its first action, start-up included.
        tally: what this run's workers did.
    """

    output: Storage
    record: RunRecord
    counts: OutcomeCounts
    num_parts: int
    num_before: int
    retried: bool
    seconds: float
    tally: RunTally

    def lines(self) -> list[str]:
        """The report for a person."""
        return [
            self._balance(),
            *self._speed(),
            f"captions in {self.output} ({_plural(self.num_parts, 'Parquet part')})",
        ]

    def write(self) -> None:
        """Write the summary, and then the mark that all of it is there.

        Raises:
            OSError: the file system refuses.
        """
        folder = self.output.sub(REPORT_FOLDER)
        folder.make()
        folder.write(_SUMMARY, (json.dumps(self._summary(), indent=2) + "\n").encode())
        self.output.write(SUCCESS, b"")

    def _balance(self) -> str:
        counts = self.counts
        text = f"{_plural(counts.total, 'image')} = {counts.ok:,} captioned + {counts.failed:,} failed"
        return f"{text} ({counts.kinds()})" if counts.failed else text

    def _speed(self) -> list[str]:
        now = self.tally.counts.total
        if not now:
            return ["nothing to do: every shard was finished by an earlier run"]
        lines = []
        if self.retried:
            lines = [f"{now:,} of them were tried again: {self.tally.counts.ok:,} are captioned now"]
        elif self.num_before:
            lines = [f"{self.num_before:,} of them were finished by an earlier run"]
        rate = self.tally.steady_rate()
        steady = f", {rate:.1f} steady" if rate is not None else ""
        return [*lines, f"{now / self.seconds:.1f} images/s overall{steady}; {self.seconds:.1f} s with start-up"]

    def _summary(self) -> dict[str, object]:
        tally, plan = self.tally, self.record.plan
        return {
            "images": self.counts.total,
            "ok": self.counts.ok,
            "failed": self.counts.failed,
            "failed_by_kind": dict(self.counts.failed_by_kind),
            "parts": self.num_parts,
            "shard_size": plan.shard_size,
            "begun_at": self.record.begun_at,
            "inputs": list(self.record.inputs),
            "settings": dict(self.record.identity.settings),
            "fingerprint": self.record.identity.fingerprint,
            "this_run": {
                "started_at": self.record.started_at,
                "ended_at": datetime.now(timezone.utc).isoformat("T", "seconds"),
                "capstan": caption_core.__version__,
                "images": tally.counts.total,
                "shards": tally.num_shards,
                "read_bytes": tally.num_bytes,
                "peak_memory_bytes": tally.peak_memory_bytes,
                "seconds": round(self.seconds, 3),
                "images_per_s": {
                    "overall": tally.counts.total / self.seconds,
                    "steady": tally.steady_rate(),
                    "by_actor": tally.rate_by_worker(),
                },
                "stage_seconds": asdict(tally.stages),
            },
        }


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

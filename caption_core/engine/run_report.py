"""What a run came to, and how it says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caption_core.archive.outcomes import OutcomeCounts


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run.

    Attributes:
        output: folder of the parts.
        counts: of all parts; reconciled with the plan.
        num_parts: Parquet parts.
        num_before: images that an earlier run had captioned.
        seconds: this run's duration from its first action, start-up included.
        steady_rate: images a second after the first shard was done; None where there was no second one.
    """

    output: Path
    counts: OutcomeCounts
    num_parts: int
    num_before: int
    seconds: float
    steady_rate: float | None

    def lines(self) -> list[str]:
        """The report for a person."""
        return [
            self._balance(),
            *self._speed(),
            f"captions in {self.output} ({_plural(self.num_parts, 'Parquet part')})",
        ]

    def _balance(self) -> str:
        counts = self.counts
        text = f"{_plural(counts.total, 'image')} = {counts.ok:,} captioned + {counts.failed:,} failed"
        kinds = ", ".join(f"{number:,} {kind}" for kind, number in counts.failed_by_kind.items())
        return f"{text} ({kinds})" if kinds else text

    def _speed(self) -> list[str]:
        now = self.counts.total - self.num_before
        if not now:
            return ["nothing to do: every shard was finished by an earlier run"]
        lines = [f"{self.num_before:,} of them were finished by an earlier run"] if self.num_before else []
        steady = f", {self.steady_rate:.1f} steady" if self.steady_rate is not None else ""
        return [*lines, f"{now / self.seconds:.1f} images/s overall{steady}; {self.seconds:.1f} s with start-up"]


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")

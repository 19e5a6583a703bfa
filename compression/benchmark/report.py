"""What a benchmark found: a table, a chart, and rows for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from compression.benchmark.config import BenchmarkConfig
from compression.benchmark.repeated_images import RepeatedImages
from compression.files import write_bytes
from compression.measurement import Machine
from compression.measuring.machine import measure_machine
from compression.measuring.stages import STAGES
from compression.report.columns import Table
from compression.report.pool_chart import line_of, pool_chart
from compression.report.rows import Row
from compression.report.tables import as_csv, as_json, as_markdown, as_parquet, escape
from compression.report.wording import machine_in_words

if TYPE_CHECKING:
    from compression.benchmark.run import Measured


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a benchmark ran on: this machine, and those of a cluster that was joined."""

    machine: Machine
    cluster_machines: Sequence[str]


def write_report(
    config: BenchmarkConfig, images: RepeatedImages, rows: Sequence[Row], cluster_machines: Sequence[str] = ()
) -> list[Path]:
    """Write `benchmark.md`, `.svg`, `.json`, `.csv` and `.parquet`; each is there whole or not at all.

    Args:
        config: what was measured.
        images: that were captioned.
        rows: of the points.
        cluster_machines: of a cluster that was joined, in words.
    """
    where = _Surroundings(measure_machine(), cluster_machines)
    files = {
        "benchmark.svg": pool_chart(rows),
        "benchmark.md": _page(config, images, where, rows).encode(),
        "benchmark.json": _as_json(config, images, where, rows),
        "benchmark.csv": as_csv(rows),
        "benchmark.parquet": as_parquet(rows),
    }
    return [write_bytes(config.output / name, content) for name, content in files.items()]


def rows_of(measured: Sequence[Measured], decoders: int = 0) -> list[Row]:
    """A row a point: medians of the repeats, and how far they lie apart.

    Args:
        measured: the points.
        decoders: CPUs that decode for each actor, beside its own.
    """
    rows = [_row(one) for one in measured]
    single = {line_of(row): row["steady_images_per_s"] for row in rows if row["actors"] == 1}
    for row in rows:
        one = single.get(line_of(row))
        row["actors_speedup"] = row["steady_images_per_s"] / one if one else None
        row["images_per_cpu_s"] = row["steady_images_per_s"] / row["actors"] / (row["cpus_per_actor"] + decoders)
    return rows


def _row(one: Measured) -> Row:
    rates = [job.steady_images_per_s for job in one.jobs]
    row: Row = {
        **asdict(one.point),
        "repeats": len(one.jobs),
        "steady_images_per_s": median(rates),
        "steady_lowest": min(rates),
        "steady_highest": max(rates),
        "overall_images_per_s": median(job.overall_images_per_s for job in one.jobs),
        "first_part_s": median(job.first_part_s for job in one.jobs),
        "peak_memory_mb": max(job.peak_memory_bytes for job in one.jobs) / 1e6,
    }
    return row | _stage_columns(one, row["steady_images_per_s"])


_NOT_MEASURED = dict.fromkeys(
    [
        *(f"{stage}_ms" for stage in STAGES),
        "sum_ms",
        "bound_images_per_s",
        "loop_images_per_s",
        "loop_share_of_bound",
        "job_share_of_bound",
        "job_share_of_loops",
        "loops_at_once_images_per_s",
        "job_share_of_loops_at_once",
    ]
)


def _stage_columns(one: Measured, steady: float) -> Row:
    """Stages in milliseconds an image; the rate that they bound; the loop's share of it, and the job's of the loops."""
    if not one.stages:
        return dict(_NOT_MEASURED)
    seconds = {stage: median(times[stage] for times in one.stages) for stage in STAGES}
    bound, loop = 1 / sum(seconds.values()), 1 / median(times["loop"] for times in one.stages)
    row = _NOT_MEASURED | {
        **{f"{stage}_ms": 1000 * value for stage, value in seconds.items()},
        "sum_ms": 1000 / bound,
        "bound_images_per_s": bound,
        "loop_images_per_s": loop,
        "loop_share_of_bound": loop / bound,
        "job_share_of_bound": steady / (one.point.actors * bound),
        "job_share_of_loops": steady / (one.point.actors * loop),
    }
    if all("loop_at_once" in times for times in one.stages):
        at_once = one.point.actors / median(times["loop_at_once"] for times in one.stages)
        row |= {"loops_at_once_images_per_s": at_once, "job_share_of_loops_at_once": steady / at_once}
    return row


def _as_json(config: BenchmarkConfig, images: RepeatedImages, where: _Surroundings, rows: Sequence[Row]) -> bytes:
    values = {
        "machine": where.machine.model_dump(mode="json"),
        "cluster_machines": list(where.cluster_machines),
        "settings": _settings(config, images),
        "rows": json.loads(as_json(rows)),
    }
    return (json.dumps(values, indent=1) + "\n").encode()


def _settings(config: BenchmarkConfig, images: RepeatedImages) -> dict[str, object]:
    return {
        "images": config.num_images,
        "different_images": len(images.refs),
        "mean_bytes": round(sum(ref.num_bytes for ref in images.refs) / len(images.refs)),
        "source": config.source,
        "shard_size": config.shard_size,
        "gpus_per_actor": config.gpus_per_actor,
        "decoders_per_actor": config.decoders,
        "cluster": config.cluster.kind.value,
        "repeats": config.repeats,
    }


def tables_of(rows: Sequence[Row]) -> str:
    """The rows for people, as Markdown: jobs, and stages where they were measured."""
    parts = ["## Jobs", as_markdown(_table(rows, _JOB_COLUMNS))]
    if staged := [row for row in rows if row["loop_images_per_s"]]:
        parts += ["## Stages", _STAGES_TEXT, as_markdown(_table(staged, _STAGE_COLUMNS))]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _page(config: BenchmarkConfig, images: RepeatedImages, where: _Surroundings, rows: Sequence[Row]) -> str:
    settings = _settings(config, images)
    machine = escape(machine_in_words(where.machine))
    if where.cluster_machines:
        listed = "; ".join(map(escape, where.cluster_machines))
        here = "this one, which stages and loops were timed on" if config.stages else "the one of the command"
        machine = f"The cluster's machines: {listed}; {here}: {machine}"
    cpus = " or ".join(map(str, config.cpus_per_actor))
    gpus = f" and {config.gpus_per_actor:g} GPUs" if config.gpus_per_actor else ""
    decoded = f"; {config.decoders} tasks decode for each" if config.decoders else ""
    parts = [
        "# Benchmark",
        f"{machine}.",
        f"{settings['images']:,} images a job, {settings['different_images']:,} different ones of "
        f"{settings['mean_bytes']:,} bytes on average, from {settings['source']}, in shards of {config.shard_size:,}; "
        f"{cpus} CPUs{gpus} an actor, on {settings['cluster']}{decoded}. Medians of {config.repeats} repeats in which "
        "all took turns; steady rates begin when the first shard is done.",
        "![images a second against actors](benchmark.svg)",
        tables_of(rows),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


_STAGES_TEXT = (
    "Milliseconds an image of each stage by itself, in one process without Ray; the bound is what they add up to, the "
    "loop is written by hand over the same stages, and the job's shares are those of so many bounds and loops as it "
    "has actors. "
    "Loops at once ran side by side, each on cores of its own: what they lose against one alone is the machine's."
)

_Format = Callable[[Row], str]


def _number(name: str, form: str) -> _Format:
    return lambda row: "" if row.get(name) is None else format(row[name], form)


_POINT: dict[str, _Format] = {
    "captioner": lambda row: str(row["variant"]),
    "actors": _number("actors", ","),
    "CPUs of each": _number("cpus_per_actor", ","),
    "batch": _number("batch_size", ","),
    "beam": lambda row: "own" if row["beam_width"] is None else str(row["beam_width"]),
    "precision": lambda row: str(row["precision"] or "own"),
}
_JOB_COLUMNS: dict[str, _Format] = _POINT | {
    "images/s": _number("steady_images_per_s", ",.1f"),
    "lowest": _number("steady_lowest", ",.1f"),
    "highest": _number("steady_highest", ",.1f"),
    "images/s a CPU": _number("images_per_cpu_s", ",.1f"),
    "times one actor": _number("actors_speedup", ".2f"),
    "of the bound": _number("job_share_of_bound", ".2f"),
    "of the loops": _number("job_share_of_loops", ".2f"),
    "of loops at once": _number("job_share_of_loops_at_once", ".2f"),
    "first part, s": _number("first_part_s", ".1f"),
    "actor's memory, MB": _number("peak_memory_mb", ",.0f"),
}
_STAGE_COLUMNS: dict[str, _Format] = _POINT | {
    **{stage: _number(f"{stage}_ms", ".3f") for stage in STAGES},
    "sum": _number("sum_ms", ".3f"),
    "bound, images/s": _number("bound_images_per_s", ",.1f"),
    "loop, images/s": _number("loop_images_per_s", ",.1f"),
    "loops at once, images/s": _number("loops_at_once_images_per_s", ",.1f"),
    "of the bound": _number("loop_share_of_bound", ".2f"),
}


def _table(rows: Sequence[Row], columns: dict[str, _Format]) -> Table:
    cells = tuple(tuple(cell(row) for cell in columns.values()) for row in rows)
    return Table("", tuple(columns), ("",) * len(columns), cells)

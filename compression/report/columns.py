"""The readable tables of a report: which columns there are, what they mean, and how their cells are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compression.report.rows import HEADLINE, Row
from compression.report.wording import counted, runtime_name
from compression.settings.fields import PARTS

Write = Callable[[Row], str]
"""A row to a cell's text; empty where the row has nothing to say."""

_MINUTES = "Minutes for 2,000 images from files, reading and decoding included."


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a readable table.

    Attributes:
        heading: at its top.
        meaning: in words.
        write: its cells.
    """

    heading: str
    meaning: str
    write: Write


@dataclass(frozen=True, slots=True)
class Table:
    """A readable table; its first column names the row.

    Attributes:
        title: what it tells.
        headings: of its columns.
        meanings: as many.
        cells: its rows, each with as many cells.
    """

    title: str
    headings: tuple[str, ...]
    meanings: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def readable_tables(rows: Sequence[Row], seeds: Sequence[Row] = ()) -> list[Table]:
    """The tables that there is something to say in, each with the columns and rows that say something.

    Args:
        rows: one a variant.
        seeds: one for each choice that was made with several seeds.
    """
    threads = _threads(rows)
    tables = [
        _table("At a glance", [*_overview(), *(column for number in threads for column in _speedup(number))], rows),
        _table("Quality", _quality(), rows),
        _table("Changes against the baseline", _changes(rows), rows),
        _table("Size", _size(), rows),
        *(_table(f"Size of the {part}", _part(part), rows) for part in PARTS),
        *(_table(f"Speed, {_cores(number)}", _speed(number, rows), rows) for number in threads),
        _table("Protocol of arXiv 2012.09708", _study(threads), rows),
        _table("Mean over seeds", _seeds(threads), seeds),
    ]
    return [table for table in tables if table is not None]


def _table(title: str, columns: Sequence[Column], rows: Sequence[Row]) -> Table | None:
    filled = [column for column in columns if any(column.write(row) for row in rows)]
    saying = [row for row in rows if any(column.write(row) for column in filled)]
    if not filled:
        return None
    named = [Column("variant", "The variant's name in its study.", lambda row: str(row["variant"])), *filled]
    cells = tuple(tuple(column.write(row) for column in named) for row in saying)
    return Table(title, tuple(c.heading for c in named), tuple(c.meaning for c in named), cells)


def _threads(rows: Sequence[Row]) -> list[int]:
    """Numbers of threads that speed was measured with."""
    found = (re.fullmatch(r"threads_(\d+)_images_per_s", name) for row in rows for name in row)
    return sorted({int(match[1]) for match in found if match})


def _overview() -> list[Column]:
    return [
        Column(HEADLINE, f"{HEADLINE} of the split's captions.", _headline),
        Column(
            "change %",
            f"Change of {HEADLINE} against the baseline, in per cent.",
            _number("score_change_percent", "+.1f"),
        ),
        Column("MB", "Stored size of all files, what a user downloads, in 10^6 bytes.", _megabytes("whole")),
        Column("size %", "Change of the stored size against the baseline, in per cent.", _size_change),
        Column("zeros %", "Share of the weights that are zero, in per cent.", _zeros),
        Column("memory MB", "Resident memory that the captioner adds to a process, in 10^6 bytes.", _memory),
        Column("load s", "From a folder's name to a captioner, in seconds, without imports.", _number("load_s", ".2f")),
    ]


def _speedup(threads: int) -> list[Column]:
    meaning = f"Images a second over the baseline's, {_cores(threads)}."
    return [Column(f"speed-up, {_cores(threads)}", meaning, _number(f"threads_{threads}_speedup", ".2f"))]


def _quality() -> list[Column]:
    return [
        Column(
            "beams", "Beam width that was scored: the captioner's own unless one was asked for.", _text("beam_width")
        ),
        *(Column(f"BLEU-{n}", f"Corpus BLEU up to {n}-grams.", _number(f"Bleu_{n}", ".3f")) for n in range(1, 5)),
        Column("ROUGE-L", "F-measure of longest common subsequences.", _number("ROUGE_L", ".3f")),
        Column("CIDEr", "CIDEr as the original defines it.", _number("CIDEr", ".3f")),
        Column(f"{HEADLINE} [95 %]", f"{HEADLINE} with its bootstrap interval over images.", _with_interval),
        Column("epochs", "Epochs of training in all steps.", _if(HEADLINE, lambda row: str(row["epochs"] or ""))),
    ]


def _changes(rows: Sequence[Row]) -> list[Column]:
    scores = {f"BLEU-{n}": f"Bleu_{n}_change" for n in range(1, 5)} | {HEADLINE: "score_change"}
    columns = [
        Column(
            f"{score} change",
            f"{score} less the baseline's, with the 95 % interval of the difference on the same draws of images.",
            _changed(name),
        )
        for score, name in scores.items()
    ]
    baseline = Column("baseline", "What changes, and speed-ups, are against.", _if("score_change", _text("baseline")))
    return [*columns, *([baseline] if _differ(rows, "baseline") else [])]


def _size() -> list[Column]:
    return [
        Column("MB", "Stored size of all files, what a user downloads, in 10^6 bytes.", _megabytes("whole")),
        Column("size %", "Change of the stored size against the baseline, in per cent.", _size_change),
        Column("expanded MB", "Size of all files once they are expanded.", _megabytes("whole", "raw_bytes")),
        Column("vocabulary kB", "Stored size of the vocabulary, in 10^3 bytes.", _vocabulary),
        *_weights("whole"),
        Column("zeros %", "Share of the weights that are zero, in per cent.", _zeros),
    ]


def _part(part: str) -> list[Column]:
    return [
        Column("MB", "Stored size of the part, in 10^6 bytes.", _megabytes(part)),
        Column("expanded MB", "Its size once it is expanded.", _megabytes(part, "raw_bytes")),
        *_weights(part),
        Column("zeros %", "Share of its weights that are zero, in per cent.", _part_zeros(part)),
        Column(
            "values",
            "Different values of one of its weight matrices as it is stored, on average over these: of integers where "
            "a matrix is quantized, of floats where it isn't.",
            _values(part),
        ),
    ]


def _weights(part: str) -> list[Column]:
    return [
        Column("parameters M", "Elements of the weights, in millions.", _millions(f"{part}_parameters")),
        Column("non-zeros M", "Those that are not zero, in millions.", _millions(f"{part}_nonzeros")),
    ]


def _speed(threads: int, rows: Sequence[Row]) -> list[Column]:
    prefix = f"threads_{threads}_"
    timed = [row for row in rows if f"{prefix}images_per_s" in row]
    runtime = Column("runtime", "What runs the captioner.", _if(f"{prefix}images_per_s", _runtime))
    return [
        *([runtime] if _differ(timed, "runtime") else []),
        Column(
            "images/s",
            "Images captioned a second by one process on decoded images, with the batch that is fastest: the median of "
            "the repeats, behind ± half the distance of the fastest from the slowest.",
            _rate(prefix),
        ),
        Column("batch", "Images of the batch that is fastest.", _text(f"{prefix}batch")),
        Column("speed-up", "Images a second over the baseline's.", _number(f"{prefix}speedup", ".2f")),
        Column(
            "over dense",
            "Images a second over those of the variant with the same graphs and all weights: what pruning alone does.",
            _number(f"{prefix}speedup_over_dense", ".2f"),
        ),
        Column("images/s, batch 1", "Images captioned a second, one at a time.", _rate(f"{prefix}batch_1_")),
        Column("p50 / p95 ms", "Time of one image alone (batch 1): median and 95th percentile.", _latency(prefix)),
        Column("minutes for 2,000", _MINUTES, _number(f"{prefix}minutes_2000", ".2f")),
    ]


def _study(threads: Sequence[int]) -> list[Column]:
    bleu = [
        Column(
            f"study BLEU-{n}",
            "BLEU as that study computes it, comparable with its figures only.",
            _number(f"study_BLEU-{n}", ".3f"),
        )
        for n in range(1, 5)
    ]
    minutes = [
        Column(f"minutes for 2,000, {_cores(n)}", _MINUTES, _number(f"threads_{n}_minutes_2000", ".2f"))
        for n in threads
    ]
    # Times alone are in the table of speed already.
    return [Column(one.heading, one.meaning, _if("study_BLEU-1", one.write)) for one in [*bleu, *_size()[:1], *minutes]]


def _seeds(threads: Sequence[int]) -> list[Column]:
    sd = "mean over the seeds ± sample standard deviation (n - 1)"
    speeds = [
        Column(f"speed-up, {_cores(n)}", f"Speed-up: {sd}.", _mean(f"threads_{n}_speedup", ".2f")) for n in threads
    ]
    return [
        Column("seeds", "How many seeds.", _text("seeds")),
        Column("BLEU-4", f"BLEU-4: {sd}.", _mean("Bleu_4", ".3f")),
        Column(HEADLINE, f"{HEADLINE}: {sd}.", _mean(HEADLINE, ".3f")),
        Column("change %", f"Change in per cent: {sd}.", _mean("score_change_percent", "+.1f")),
        Column("MB", f"Stored size: {sd}.", _mean("whole_stored_bytes", ".2f", scale=1e-6)),
        Column("zeros %", f"Zeros in per cent: {sd}.", _mean("sparsity", ".1f", scale=100)),
        *speeds,
    ]


def _cores(threads: int) -> str:
    return counted(threads, "thread")


def _differ(rows: Sequence[Row], name: str) -> bool:
    return len({row[name] for row in rows}) > 1


def _text(name: str) -> Write:
    return lambda row: "" if row.get(name) is None else str(row[name])


def _number(name: str, form: str) -> Write:
    return lambda row: "" if row.get(name) is None else f"{row[name]:{form}}"


def _if(name: str, write: Write) -> Write:
    return lambda row: "" if row.get(name) is None else write(row)


def _megabytes(part: str, kind: str = "stored_bytes") -> Write:
    return lambda row: "" if row.get(f"{part}_{kind}") is None else f"{row[f'{part}_{kind}'] / 1e6:.2f}"


def _headline(row: Row) -> str:
    return "random weights" if row["random_weights"] else _number(HEADLINE, ".3f")(row)


def _with_interval(row: Row) -> str:
    return _number(HEADLINE, ".3f")(row) + _interval(row, HEADLINE, ".3f")


def _changed(name: str) -> Write:
    return lambda row: _number(name, "+.3f")(row) + _interval(row, name, "+.3f")


def _interval(row: Row, name: str, form: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"


def _size_change(row: Row) -> str:
    return _number("size_change_percent", "+.1f")(row)


def _zeros(row: Row) -> str:
    return f"{100 * row['sparsity']:.1f}"


def _part_zeros(part: str) -> Write:
    def write(row: Row) -> str:
        parameters = row.get(f"{part}_parameters")
        return f"{100 * (1 - row[f'{part}_nonzeros'] / parameters):.1f}" if parameters else ""

    return write


def _millions(name: str) -> Write:
    return lambda row: "" if row.get(name) is None else f"{row[name] / 1e6:.2f}"


def _values(part: str) -> Write:
    return _number(f"{part}_distinct_values", ",.0f")


def _vocabulary(row: Row) -> str:
    return "" if row.get("vocabulary_stored_bytes") is None else f"{row['vocabulary_stored_bytes'] / 1e3:.1f}"


def _runtime(row: Row) -> str:
    return runtime_name(row["runtime"])


def _memory(row: Row) -> str:
    return f"{row['memory_mb']:.0f}"


def _rate(prefix: str) -> Write:
    def write(row: Row) -> str:
        rate = row.get(f"{prefix}images_per_s")
        return "" if rate is None else f"{_digits(rate)} ± {_digits(rate * row[f'{prefix}spread'] / 2)}"

    return write


def _digits(value: float) -> str:
    """Three digits or more: captioners of a study differ by a factor of a hundred."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def _latency(prefix: str) -> Write:
    def write(row: Row) -> str:
        p50, p95 = row.get(f"{prefix}p50_ms"), row.get(f"{prefix}p95_ms")
        return "" if p50 is None or p95 is None else f"{p50:.1f} / {p95:.1f}"

    return write


def _mean(name: str, form: str, *, scale: float = 1) -> Write:
    def write(row: Row) -> str:
        mean, spread = row.get(f"{name}_mean"), row.get(f"{name}_sd")
        if mean is None or spread is None:
            return ""
        return f"{mean * scale:{form}} ± {spread * scale:{form.removeprefix('+')}}"

    return write

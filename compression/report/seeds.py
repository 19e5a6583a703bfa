"""One choice made with several seeds, as one row: how much the seed alone changes."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev

from compression.report.measured import Measured
from compression.report.rows import Row

_AS_THEY_ARE = ("study", "model", "runtime", "random_weights", "pruned", "baseline", "baseline_runtime")
_NOT_SUMMARIZED = ("seed", "_low", "_high", "_p", "_noise", "_spread")
"""Ends of names: of what is no measured quantity, and of what tells the uncertainty of a single variant."""


def seed_rows(measured: Sequence[Measured], rows: Sequence[Row]) -> list[Row]:
    """One row for every choice that was made with at least two seeds.

    Of a number NAME there are its arithmetic mean over the seeds, `NAME_mean`, its sample standard deviation,
    `NAME_sd` (n - 1 in the denominator), and its range, `NAME_min` and `NAME_max`. Only numbers that all seeds have
    are summarized, and no ends of intervals. The standard deviation is that of training and conversion; what the draw
    of the scored images changes is in the intervals of each variant's own row.

    Args:
        measured: the variants.
        rows: theirs, in the same order.
    """
    groups: dict[tuple[object, ...], list[tuple[Measured, Row]]] = {}
    for one, row in zip(measured, rows, strict=True):
        own = one.measurement
        groups.setdefault((one.run, own.model, *sorted(own.axes.items())), []).append((one, row))
    return [_summary(group) for group in groups.values() if len({one.measurement.seed for one, _ in group}) > 1]


def _summary(group: Sequence[tuple[Measured, Row]]) -> Row:
    rows = [row for _, row in group]
    first = rows[0]
    row: Row = {"variant": _name_without_seed(group[0][0])}
    row |= {name: first[name] for name in first if name in _AS_THEY_ARE or name.startswith("axis_")}
    row |= {"seeds": len(rows), "seed_numbers": ", ".join(str(each["seed"]) for each in rows)}
    for name in first:
        values = [each.get(name) for each in rows]
        if not name.endswith(_NOT_SUMMARIZED) and all(_is_number(value) for value in values):
            row |= _spread(name, [float(value) for value in values])  # type: ignore[arg-type]
    return row


def _spread(name: str, values: Sequence[float]) -> Row:
    ends = {f"{name}_min": min(values), f"{name}_max": max(values)}
    return {f"{name}_mean": mean(values), f"{name}_sd": stdev(values), **ends}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _name_without_seed(one: Measured) -> str:
    return one.name.removesuffix(f"+seed={one.measurement.seed}")

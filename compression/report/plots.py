"""Charts as SVG: quality against size and against speed, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from compression.report.labels import place_labels
from compression.report.pareto import pareto_front
from compression.report.rows import HEADLINE, Row
from compression.report.svg import COLOURS, INK, PALE, drawing, svg_of

_MARGIN = 1.25  # of a logarithmic axis beyond its outermost points, as a factor
_KINDS = (("baseline", "s"), ("not pruned", "o"), ("pruned", "^"))


@dataclass(frozen=True, slots=True)
class FrontChart:
    """A chart of a trade-off.

    Attributes:
        svg: its file.
        front: names of the variants on the Pareto front, by rising size or speed.
    """

    svg: bytes
    front: tuple[str, ...]


def size_chart(rows: Sequence[Row]) -> FrontChart | None:
    """The headline score against stored megabytes; None where nothing is scored."""
    return _chart(rows, "whole_stored_bytes", 1e-6, "stored size, MB (logarithmic)", less_is_better=True)


def speed_chart(rows: Sequence[Row], threads: int) -> FrontChart | None:
    """The headline score against images a second; None where nothing is scored and timed."""
    label = f"images a second, {threads} thread{'s' if threads > 1 else ''} (logarithmic)"
    return _chart(rows, f"threads_{threads}_images_per_s", 1, label, less_is_better=False)


def _chart(rows: Sequence[Row], name: str, scale: float, label: str, *, less_is_better: bool) -> FrontChart | None:
    shown = [row for row in rows if row.get(HEADLINE) is not None and row.get(name)]
    if not shown:
        return None
    points = [(row[name] * scale, row[HEADLINE]) for row in shown]
    front = pareto_front(points, less_is_better=less_is_better)
    with drawing(7.5, 4.6) as figure:
        axes = figure.subplots()
        _draw_points(axes, shown, points)
        _draw_front(axes, [points[index] for index in front], less_is_better=less_is_better)
        _scale(axes, [across for across, _ in points], label)
        axes.legend(frameon=False, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=5)
        first = [*front, *(index for index, row in enumerate(shown) if _kind(row) == 0)]
        place_labels(figure, axes, points, [str(row["variant"]) for row in shown], first)
        return FrontChart(svg_of(figure), tuple(str(shown[index]["variant"]) for index in front))


def _draw_points(axes: Axes, rows: Sequence[Row], points: Sequence[tuple[float, float]]) -> None:
    for kind, (name, marker) in enumerate(_KINDS):
        of_kind = [index for index, row in enumerate(rows) if _kind(row) == kind]
        if of_kind:
            across, up = zip(*(points[index] for index in of_kind), strict=True)
            axes.plot(across, up, marker, color=COLOURS[kind], markersize=5, linestyle="none", zorder=3, label=name)
    for row, (place, _) in zip(rows, points, strict=True):
        low, high = row.get(f"{HEADLINE}_low"), row.get(f"{HEADLINE}_high")
        if low is not None and high is not None:
            axes.plot([place, place], [low, high], color=PALE, linewidth=0.7, zorder=1)


def _kind(row: Row) -> int:
    return 0 if row["variant"] == row["baseline"] else 2 if row["pruned"] else 1


def _draw_front(axes: Axes, front: Sequence[tuple[float, float]], *, less_is_better: bool) -> None:
    # The stairs of what can be had: so much quality is there from this size on, or up to this speed.
    stairs = "steps-post" if less_is_better else "steps-pre"
    across, up = zip(*front, strict=True)
    axes.plot(across, up, color=INK, linewidth=0.8, linestyle="--", drawstyle=stairs, zorder=2, label="Pareto front")


def _scale(axes: Axes, across: Sequence[float], label: str) -> None:
    low, high = min(across) / _MARGIN, max(across) * _MARGIN
    axes.set(xscale="log", xlim=(low, high), xlabel=label, ylabel=f"{HEADLINE} (lines: 95 % interval)")
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(LogLocator(subs=_ticks(high / low)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(*axes.get_ylim())


def _ticks(span: float) -> tuple[float, ...]:
    """Ticks within a decade: the fewer the more decades there are."""
    if span > 300:
        return (1,)
    if span > 30:
        return (1, 2, 5)
    return (1, 2, 3, 5, 7) if span > 5 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)

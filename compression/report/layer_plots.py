"""A variant's layers as a chart: which are how sparse, and what quantizing each alone costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from compression.measurement import Measurement
from compression.report.labels import shortened
from compression.report.layers import LayerFigures, layer_figures
from compression.report.svg import COLOURS, drawing, svg_of

_MOST_LAYERS = 70
_BAR = 0.7  # of the distance from one bar to the next
_LEAST_SPARSITY = 0.05  # some weights are zero by chance in integers
_PARTS = {"encoder": COLOURS[1], "decoder": COLOURS[2]}


def layer_chart(measurement: Measurement) -> bytes | None:
    """Zeros of each weight matrix, and what quantizing it alone costs where that was measured; None for neither.

    Of more layers than can be read the largest are shown, in the order in which they work.
    """
    bars = layer_figures(measurement)
    charts: list[tuple[str, Callable[[LayerFigures], float | None]]] = []
    if any((bar.sparsity or 0) > _LEAST_SPARSITY for bar in bars):
        charts.append(("zeros, %", lambda bar: None if bar.sparsity is None else 100 * bar.sparsity))
    if any(bar.error is not None for bar in bars):
        charts.append(("relative error of the output when it alone is quantized", lambda bar: bar.error))
    if not charts:
        return None
    shown = _largest(bars)
    with drawing(3.2 + 3 * len(charts), 1.1 + 0.135 * max(len(shown), 8)) as figure:
        places = figure.subplots(1, len(charts), sharey=True, squeeze=False)[0]
        for axes, (label, value) in zip(places, charts, strict=True):
            _draw(axes, shown, value, label)
        _name(places[0], shown, hidden=len(bars) - len(shown))
        figure.legend(handles=_legend(shown), frameon=False, fontsize=7, ncols=2, loc="outside upper right")
        return svg_of(figure)


def _largest(bars: Sequence[LayerFigures]) -> list[LayerFigures]:
    by_size = sorted(range(len(bars)), key=lambda index: (-(bars[index].elements or 0), index))
    return [bars[index] for index in sorted(by_size[:_MOST_LAYERS])]


def _draw(axes: Axes, bars: Sequence[LayerFigures], value: Callable[[LayerFigures], float | None], label: str) -> None:
    values = [(index, value(bar)) for index, bar in enumerate(bars)]
    known = [(index, number) for index, number in values if number]
    for part in dict.fromkeys(bars[index].part for index, _ in known):
        # One path for all of a part's bars: a third of the file that as many patches make.
        boxes = [_box(index, number) for index, number in known if bars[index].part == part]
        axes.add_patch(PathPatch(Path.make_compound_path(*boxes), color=_colour(part), linewidth=0))
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.autoscale_view(scaley=False)
    axes.set_xlim(0, 100 if label.endswith("%") else None)
    axes.set_xlabel(label, fontsize=8)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", left=False, labelleft=False)


def _name(axes: Axes, bars: Sequence[LayerFigures], *, hidden: int) -> None:
    """The layers' names, from the top down, less the part's, which the colour tells."""
    axes.set_yticks(range(len(bars)), [shortened(bar.name.split("/", 1)[-1]) for bar in bars], fontsize=6)
    axes.tick_params(axis="y", labelleft=True)
    if hidden:
        axes.set_ylabel(f"the {len(bars)} largest of {len(bars) + hidden} weight matrices", fontsize=7)


def _legend(bars: Sequence[LayerFigures]) -> list[Patch]:
    parts = dict.fromkeys(bar.part for bar in bars)
    return [Patch(color=_colour(part), label=part) for part in parts]


def _colour(part: str) -> str:
    return _PARTS.get(part, COLOURS[0])


def _box(index: int, number: float) -> Path:
    low, high = index - _BAR / 2, index + _BAR / 2
    return Path([(0, low), (number, low), (number, high), (0, high), (0, low)], closed=True)

"""A chart of a benchmark: how jobs get faster with their pools."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.ticker import MaxNLocator

from compression.report.rows import Row
from compression.report.svg import COLOURS, INK, drawing, svg_of

_MARKERS = ("o", "s", "^", "D", "v")


def line_of(row: Row) -> tuple[object, ...]:
    """What rows of one line have alike: all of the combination but the actors."""
    return row["variant"], row["batch_size"], row["beam_width"], row["precision"], row["cpus_per_actor"]


def pool_chart(rows: Sequence[Row]) -> bytes:
    """Images a second against actors, a line a captioner, batch, beam, precision and number of CPUs."""
    lines: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        lines.setdefault(line_of(row), []).append(row)
    with drawing(6.0, 3.6) as figure:
        axes = figure.subplots()
        for number, ((variant, batch, width, precision, cpus), points) in enumerate(lines.items()):
            label = f"{variant}, batch {batch}" + (f", beam {width}" if width is not None else "")
            label += f", {precision}" if precision is not None else ""
            label += f", {cpus} CPUs each" if cpus != 1 else ""
            across, up = zip(*((row["actors"], row["steady_images_per_s"]) for row in points), strict=True)
            low, high = zip(*((row["steady_lowest"], row["steady_highest"]) for row in points), strict=True)
            colour, marker = COLOURS[number % len(COLOURS)], _MARKERS[number // len(COLOURS) % len(_MARKERS)]
            axes.plot(across, up, marker=marker, color=colour, markersize=4, linewidth=1, label=label)
            axes.vlines(across, low, high, color=colour, linewidth=0.8)
        axes.set(xlabel="actors", ylabel="images a second", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8, labelcolor=INK)
        return svg_of(figure)

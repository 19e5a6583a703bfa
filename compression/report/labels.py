"""Names beside a chart's points, none over another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, radians, sin

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from compression.report.svg import INK, PALE

_FEW = 16  # points that all can have names
_LONGEST = 44
_FONT_SIZE = 7.0
_DISTANCES = (5.0, 12.0, 20.0, 30.0, 42.0, 56.0)  # points; the first needs no line to its point
_DIRECTIONS = (35, -35, 145, -145, 90, -90, 0, 180)  # degrees; to the right and above where there is room
_MARKER = 8.0  # a point's side in pixels, at the 72 dots an inch that labels are placed at


def place_labels(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float]], labels: Sequence[str], first: Sequence[int]
) -> None:
    """Write labels beside their points; one that there is no room for is left out.

    Those of `first` may be further away, with a line to their point. Where there are many points the others have none:
    what can't be told apart says nothing.

    Limits of the axes must not change any more.

    Args:
        figure: that the axes are in.
        axes: with the points drawn.
        points: in the axes' own units.
        labels: as many texts.
        first: positions of the points that matter most.
    """
    figure.set_dpi(72)  # a pixel is a point: SVG's own unit
    renderer: RendererAgg = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    centres = [(float(x), float(y)) for x, y in axes.transData.transform(points)]
    taken = [Bbox.from_bounds(x - _MARKER / 2, y - _MARKER / 2, _MARKER, _MARKER) for x, y in centres]
    inside = axes.get_window_extent(renderer)
    others = [index for index in range(len(points)) if index not in first] if len(points) <= _FEW else []
    for index in dict.fromkeys([*first, *others]):
        text = shortened(labels[index])
        size = _extent(axes, renderer, text)
        near = _places(centres[index], size, _DISTANCES if index in first else _DISTANCES[:2])
        if place := next((box for box in near if _is_free(box, inside, taken)), None):
            taken.append(place)
            _write(axes, centres[index], place, text)


def shortened(text: str) -> str:
    """A long text with its middle left out: names of variants differ at both ends."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[1 - _LONGEST // 2 :]}"


def _extent(axes: Axes, renderer: RendererAgg, text: str) -> Bbox:
    drawn = axes.text(0, 0, text, fontsize=_FONT_SIZE)
    extent = drawn.get_window_extent(renderer)
    drawn.remove()
    return extent


def _places(centre: tuple[float, float], size: Bbox, distances: Sequence[float]) -> Iterator[Bbox]:
    """Boxes of the text's size around a point, the nearest first."""
    for distance in distances:
        for direction in _DIRECTIONS:
            right, up = cos(radians(direction)), sin(radians(direction))
            # The box's nearest edge, not its centre, is so far away.
            x = centre[0] + right * distance - (size.width if right < -0.1 else size.width / 2 if right < 0.1 else 0)
            y = centre[1] + up * distance - size.height / 2 * (1 - up)
            yield Bbox.from_bounds(x, y, size.width, size.height)


def _is_free(box: Bbox, inside: Bbox, taken: Sequence[Bbox]) -> bool:
    within = box.x0 >= inside.x0 and box.x1 <= inside.x1 + 4 and box.y0 >= inside.y0 and box.y1 <= inside.y1
    return bool(within) and not any(box.overlaps(other) for other in taken)


def _write(axes: Axes, centre: tuple[float, float], place: Bbox, text: str) -> None:
    to_points = axes.transData.inverted().transform
    near = (min(max(centre[0], place.x0), place.x1), min(max(centre[1], place.y0), place.y1))
    if abs(near[0] - centre[0]) + abs(near[1] - centre[1]) > 1.5 * _DISTANCES[0]:
        ends = to_points([centre, near])
        axes.plot(ends[:, 0], ends[:, 1], color=PALE, linewidth=0.5, zorder=0)
    left, bottom = to_points((place.x0, place.y0))
    axes.text(left, bottom, text, fontsize=_FONT_SIZE, color=INK, va="bottom", in_layout=False)

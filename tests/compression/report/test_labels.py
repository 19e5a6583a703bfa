from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from compression.report.labels import place_labels, shortened
from compression.report.svg import drawing


def placed(points: list[tuple[float, float]], first: list[int]) -> dict[str, Bbox]:
    """Labels' boxes in pixels, by text."""
    with drawing(6, 4) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, 10), ylim=(0, 10))
        place_labels(figure, axes, points, [f"a variant {index}" for index in range(len(points))], first)
        renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
        return {text.get_text(): text.get_window_extent(renderer) for text in axes.texts if isinstance(text, Text)}


def test_no_label_lies_over_another() -> None:
    points = [(5.0 + index % 3 / 10, 5 + index // 3 / 10) for index in range(9)]
    boxes = placed(points, first=list(range(9)))
    assert len(boxes) == 9
    assert not [pair for pair in combinations(boxes.values(), 2) if pair[0].overlaps(pair[1])]


def test_what_there_is_no_room_for_is_left_out_but_not_what_matters() -> None:
    boxes = placed([(5.0, 5.0)] * 16, first=[11])
    assert "a variant 11" in boxes
    assert len(boxes) < 16


def test_of_many_points_only_those_that_matter_have_labels() -> None:
    points = [(1.0 + index % 9, 1 + index / 12) for index in range(100)]
    assert placed(points, first=[3, 70]).keys() == {"a variant 3", "a variant 70"}


def test_a_long_name_keeps_both_ends() -> None:
    name = f"encoder={'x' * 60}+seed=3"
    short = shortened(name)
    assert len(short) <= 44
    assert short.startswith("encoder=x")
    assert short.endswith("x+seed=3")
    assert shortened("short") == "short"

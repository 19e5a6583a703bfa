from hypothesis import given
from hypothesis import strategies as st

from compression.report.pareto import pareto_front

# Few values, so that equal coordinates and equal points are common.
POINTS = st.lists(st.tuples(st.integers(0, 6).map(float), st.integers(0, 6).map(float)), max_size=12)


def dominates(one: tuple[float, float], other: tuple[float, float], *, less_is_better: bool) -> bool:
    cheaper = one[0] <= other[0] if less_is_better else one[0] >= other[0]
    return cheaper and one[1] >= other[1] and one != other


@given(POINTS, st.booleans())
def test_the_front_is_what_no_other_point_dominates(points: list[tuple[float, float]], less_is_better: bool) -> None:
    expected = {
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point, less_is_better=less_is_better) for other in points)
    }
    front = pareto_front(points, less_is_better=less_is_better)
    assert set(front) == expected
    assert len(front) == len(expected)


@given(POINTS, st.booleans())
def test_it_is_in_the_order_of_the_first_coordinate(points: list[tuple[float, float]], less_is_better: bool) -> None:
    across = [points[index][0] for index in pareto_front(points, less_is_better=less_is_better)]
    assert across == sorted(across)

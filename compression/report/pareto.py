"""The Pareto front: captioners that no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]], *, less_is_better: bool) -> list[int]:
    """Positions of the points that no other dominates, by rising first coordinate, equal ones in their order.

    A point dominates another if it is at least as good in both respects and better in one; so equal points are on the
    front together.

    Args:
        points: (cost or gain, score); a higher score is better.
        less_is_better: whether the first coordinate is a cost, e.g. bytes, or a gain, e.g. images a second.
    """
    sign = 1.0 if less_is_better else -1.0
    # From the best first coordinate on, so that what could dominate a point comes before it.
    order = sorted(range(len(points)), key=lambda index: (sign * points[index][0], -points[index][1]))
    front: list[int] = []
    for index in order:
        if not front or points[index][1] > points[front[-1]][1] or points[index] == points[front[-1]]:
            front.append(index)
    return sorted(front, key=lambda index: points[index][0])

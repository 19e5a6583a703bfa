"""When a stage has stopped getting better."""

from __future__ import annotations

from collections.abc import Iterable


def epochs_without_improvement(scores: Iterable[float], min_improvement: float) -> int:
    """How many epochs have passed since a score last rose by `min_improvement` over the last one that did so.

    Args:
        scores: dev scores of a stage's epochs, in their order; the first always counts as an improvement.
        min_improvement: smaller rises, and none at all, count as no improvement.
    """
    mark, passed = float("-inf"), 0
    for score in scores:
        if score > mark and score >= mark + min_improvement:
            mark, passed = score, 0
        else:
            passed += 1
    return passed

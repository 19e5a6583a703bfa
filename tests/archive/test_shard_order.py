"""Heavy shards first: what a shard weighs, and the order that follows from it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from caption_core.archive.shard_order import heavy_first, shard_bytes
from caption_core.archive.shards import ShardPlan


def plan_of(sizes: Sequence[int], shard_size: int) -> ShardPlan:
    known = [size for size in sizes if size >= 0]
    return ShardPlan(len(sizes), shard_size, "d", sum(known), len(sizes) - len(known))


def weights(sizes: Sequence[int], shard_size: int) -> list[float]:
    return list(shard_bytes(plan_of(sizes, shard_size), np.array(sizes, np.int64)))


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 20))
def test_a_shard_weighs_what_its_images_do(sizes: list[int], shard: int) -> None:
    assert weights(sizes, shard) == [sum(sizes[start : start + shard]) for start in range(0, len(sizes), shard)]


def test_images_of_unknown_size_count_as_the_others_do_on_average() -> None:
    assert weights([10, -1, -1, -1, 20, 30], 2) == [30, 40, 50]
    assert weights([-1, -1, -1], 2) == [0, 0]


@given(st.lists(st.integers(0, 10**12), max_size=40), st.data())
def test_every_shard_is_begun_once_and_none_much_lighter_before_a_heavier_one(
    num_bytes: list[int], data: st.DataObject
) -> None:
    pending = data.draw(st.lists(st.sampled_from(range(len(num_bytes))), unique=True)) if num_bytes else []
    order = heavy_first(sorted(pending), np.array(num_bytes))
    assert sorted(order) == sorted(pending)
    for before, after in pairwise(order):
        assert num_bytes[after] <= max(2.001 * num_bytes[before], 1)


@pytest.mark.parametrize("num_bytes", [[0, 0, 0], [100, 140, 90, 71, 100], []])
def test_shards_of_about_the_same_weight_or_of_none_that_is_known_stay_in_order(num_bytes: list[float]) -> None:
    shards = range(len(num_bytes))
    assert heavy_first(shards, np.array(num_bytes)) == list(shards)


def test_skewed_shards_end_together() -> None:
    """Ten workers, and an archive whose heaviest shards are its last ones."""
    costs = np.sort(np.random.default_rng(5).lognormal(0, 1, 300))
    bound = costs.sum() / 10
    assert makespan(range(300), costs, 10) > 1.1 * bound
    assert makespan(heavy_first(range(300), costs), costs, 10) < 1.02 * bound


def makespan(order: Sequence[int], costs: NDArray[np.float64], workers: int) -> float:
    """When the last of some workers ends, each of which takes the next shard when it is free."""
    free = [0.0] * workers
    for shard in order:
        heapq.heapreplace(free, free[0] + costs[shard])
    return max(free)

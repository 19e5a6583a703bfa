"""A pool that starts: what was asked for, clamped to what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.engine.pool_size import ActorClaim, ActorRange, PoolSize, count_fitting, fit_pool, leave_cpus
from caption_core.errors import UsageError

RANGES = st.tuples(st.integers(1, 9), st.integers(0, 9)).map(lambda pair: ActorRange(pair[0], pair[0] + pair[1]))


@pytest.mark.parametrize(("text", "bounds"), [("2:8", (2, 8)), ("3", (3, 3)), (" 1:1 ", (1, 1))])
def test_bounds_are_read(text: str, bounds: tuple[int, int]) -> None:
    assert ActorRange.parse(text) == ActorRange(*bounds)


@pytest.mark.parametrize("text", ["", ":", "2:", ":8", "8:2", "0:2", "-1:2", "1:2:3", "a:b", "1.5"])
def test_other_bounds_are_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="--actors"):
        ActorRange.parse(text)


@given(
    st.none() | RANGES, st.integers(1, 4), st.lists(st.integers(0, 8), max_size=4), st.integers(1, 20), st.booleans()
)
def test_what_starts_fits(
    asked: ActorRange | None, cpus: int, nodes: list[int], num_shards: int, can_grow: bool
) -> None:
    fitting = sum(node // cpus for node in nodes)
    try:
        pool = fit_pool(asked, cpus, nodes, num_shards, can_grow=can_grow)
    except UsageError:
        assert fitting < (min(asked.minimum, num_shards) if asked else 1)
        return
    assert 1 <= pool.minimum <= pool.initial <= pool.maximum <= num_shards
    assert pool.initial <= fitting
    assert can_grow or pool.maximum <= fitting
    if asked:
        assert pool.minimum <= asked.minimum
        assert pool.maximum <= asked.maximum
        assert bool(pool.notes) == (min(asked.maximum, num_shards) > fitting)


def test_by_default_as_many_run_as_fit() -> None:
    assert fit_pool(None, 2, [4, 5, 1], 100, can_grow=True) == PoolSize(4, 4, 4)


def test_an_actor_does_not_span_machines() -> None:
    assert count_fitting([3, 3], 2) == 2
    with pytest.raises(UsageError, match="an actor needs 4 CPUs, but the largest machine has 3"):
        fit_pool(None, 4, [3, 3], 10, can_grow=False)


def test_too_many_actors_are_clamped_and_the_user_is_told() -> None:
    pool = fit_pool(ActorRange(1, 64), 1, [2], 100, can_grow=False)
    assert (pool.minimum, pool.initial, pool.maximum) == (1, 2, 2)
    assert "up to 64 actors of 1 CPU; 2 fit on 2 CPUs, so 2 will run" in pool.notes[0]


def test_a_cluster_that_grows_keeps_the_larger_maximum() -> None:
    pool = fit_pool(ActorRange(1, 64), 1, [2], 100, can_grow=True)
    assert (pool.minimum, pool.initial, pool.maximum) == (1, 2, 64)
    assert "until machines join" in pool.notes[0]


def test_a_minimum_that_does_not_fit_is_told() -> None:
    with pytest.raises(UsageError, match="at least 3 actors of 1 CPU, but only 2 fit on 2 CPUs"):
        fit_pool(ActorRange(3, 8), 1, [2], 100, can_grow=False)


def test_few_shards_need_few_actors() -> None:
    assert fit_pool(ActorRange(3, 8), 1, [2], 1, can_grow=False).maximum == 1
    assert fit_pool(None, 1, [16], 3, can_grow=False) == PoolSize(3, 3, 3)
    assert fit_pool(None, 1, [16], 1, can_grow=False).describe() == "1 actor"
    assert fit_pool(ActorRange(1, 8), 1, [4], 9, can_grow=True).describe() == "1 to 8 actors, 4 to begin with"


@pytest.mark.parametrize(
    ("claim", "node", "cpus"),
    [
        (ActorClaim(2), {"CPU": 8.0}, 8.0),
        (ActorClaim(2), {}, 0.0),
        (ActorClaim(2, 1), {"CPU": 8.0}, 0.0),
        (ActorClaim(2, 1), {"CPU": 8.0, "GPU": 1.0}, 2.0),
        (ActorClaim(2, 0.25), {"CPU": 8.0, "GPU": 1.0}, 8.0),
        (ActorClaim(1, 0.1), {"CPU": 64.0, "GPU": 2.0}, 20.0),
        (ActorClaim(1, 0.6), {"CPU": 64.0, "GPU": 2.0}, 2.0),
        (ActorClaim(4, 2), {"CPU": 64.0, "GPU": 5.0}, 8.0),
    ],
)
def test_gpus_may_run_out_before_cpus(claim: ActorClaim, node: dict[str, float], cpus: float) -> None:
    assert claim.cpus_of(node) == cpus


@pytest.mark.parametrize(("cpus", "gpus"), [(0, 0), (2000, 0), (1, -0.5), (1, 1.5), (1, 65)])
def test_claims_that_nothing_can_meet_are_wrong_usage(cpus: int, gpus: float) -> None:
    with pytest.raises(UsageError, match="per actor"):
        ActorClaim(cpus, gpus)


@pytest.mark.parametrize(
    ("actors", "claim", "cpus", "expected"),
    [
        (2, ActorClaim(1, 0, 1), 4, 2),
        (4, ActorClaim(1, 0, 1), 4, 2),
        (3, ActorClaim(1, 0.5, 3), 4, 1),
        (8, ActorClaim(1, 1, 7), 64, 8),
        (9, ActorClaim(4, 1, 0), 4, 9),
    ],
)
def test_a_pool_leaves_cpus_to_decode_on(actors: int, claim: ActorClaim, cpus: float, expected: int) -> None:
    pool = leave_cpus(PoolSize(1, actors, actors, ("as asked",)), ActorRange(1, actors), claim, cpus)
    assert (pool.minimum, pool.initial, pool.maximum) == (1, expected, expected)
    assert len(pool.notes) == 1 + (expected < actors)


@pytest.mark.parametrize(
    ("minimum", "claim", "cpus"),
    [(1, ActorClaim(1, 0, 1), 1), (1, ActorClaim(4, 1, 1), 4), (3, ActorClaim(1, 1, 1), 5)],
)
def test_a_pool_that_leaves_none_is_wrong_usage(minimum: int, claim: ActorClaim, cpus: float) -> None:
    with pytest.raises(UsageError, match=r"to decode for each, don't fit on"):
        leave_cpus(PoolSize(minimum, minimum, minimum), ActorRange(minimum, minimum), claim, cpus)


def test_a_pool_of_as_many_as_fit_shrinks_to_leave_cpus() -> None:
    claim = ActorClaim(1, 0, 1)
    pool = leave_cpus(fit_pool(None, 1, [4], 100, can_grow=False), None, claim, 4)
    assert (pool.minimum, pool.initial, pool.maximum) == (2, 2, 2)
    with pytest.raises(UsageError, match="1 actor of 1 CPU, with 1 CPU to decode for each, don't fit on 1 CPU"):
        leave_cpus(fit_pool(None, 1, [1], 100, can_grow=False), None, claim, 1)


def test_claims_tell_what_a_cluster_must_grow_by() -> None:
    assert ActorClaim(2, 0.5, 2).bundles == [{"CPU": 2, "GPU": 0.5}, {"CPU": 1.0}, {"CPU": 1.0}]

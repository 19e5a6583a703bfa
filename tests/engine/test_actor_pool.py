"""A pool of real actors: each shard once, none behind a busy actor, and what is lost begins anew."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.engine.actor_pool import ActorPool
from caption_core.engine.cluster import ClusterConfig, connected
from caption_core.engine.shard_actor import ShardResult
from caption_core.engine.work import ShardSummary
from caption_core.errors import CapstanError


class Actor:
    """Behaves by what is told of a shard: seconds to take, or 'die', 'fail', 'wear'; notes what it does."""

    def __init__(self, notes: Path, told: dict[int, Any]) -> None:
        self._notes, self._told = notes, told
        if told.get(-1) == "die" and not self._note("died-loading"):
            os._exit(1)
        if told.get(-1) == "die always":
            os._exit(1)

    def failure(self) -> str:
        return str(self._told.get(-2, ""))

    def caption_shard(self, shard_id: int) -> ShardResult:
        begun_s, told = time.time(), self._told.get(shard_id, 0)
        if told == "die" and not self._note(f"died-{shard_id}"):
            os._exit(1)
        if told == "fail":
            return ShardResult(None, f"shard {shard_id}: no")
        if isinstance(told, float):
            time.sleep(told)
        summary = ShardSummary(shard_id, OutcomeCounts(1), str(os.getpid()), begun_s, time.time())
        return ShardResult(summary, is_worn_out=told == "wear")

    def _note(self, name: str) -> bool:
        """Whether it was noted before."""
        path = self._notes / name
        was_there = path.exists()
        path.touch()
        return was_there


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    with connected(ClusterConfig(cpus=2)):
        yield


@pytest.fixture
def pool_of(tmp_path: Path) -> Iterator[Callable[..., ActorPool]]:
    pools: list[ActorPool] = []

    def make(size: int, told: dict[int, Any] | None = None) -> ActorPool:
        start = ray.remote(Actor).options(num_cpus=1).remote
        pools.append(ActorPool(lambda: start(tmp_path, told or {}), size))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


Pools = Callable[..., ActorPool]


def test_each_shard_is_done_once(pool_of: Pools) -> None:
    done = [summary.shard_id for summary in pool_of(2).run(range(20))]
    assert sorted(done) == list(range(20))


def test_no_shard_waits_behind_a_busy_actor(pool_of: Pools) -> None:
    summaries = {summary.shard_id: summary for summary in pool_of(2, {0: 3.0}).run(range(8))}
    slow = summaries[0]
    others = [summary for summary in summaries.values() if summary.shard_id != 0]
    assert all(summary.worker != slow.worker for summary in others if summary.started_s > slow.started_s)
    assert max(summary.finished_s for summary in others) < slow.finished_s


def test_a_lost_actor_is_replaced_and_its_shard_begun_anew(pool_of: Pools) -> None:
    done = [summary.shard_id for summary in pool_of(2, {3: "die", 4: "die"}).run(range(8))]
    assert sorted(done) == list(range(8))


def test_a_worn_out_actor_is_replaced(pool_of: Pools) -> None:
    summaries = sorted(pool_of(1, {0: "wear"}).run(range(3)), key=lambda summary: summary.shard_id)
    assert summaries[0].worker != summaries[1].worker == summaries[2].worker


def test_an_actor_may_die_while_it_loads(pool_of: Pools) -> None:
    assert len(list(pool_of(1, {-1: "die"}).run(range(3)))) == 3


def test_actors_that_always_die_end_the_run(pool_of: Pools) -> None:
    with pytest.raises(CapstanError, match="died while they loaded"):
        list(pool_of(1, {-1: "die always"}).run(range(3)))


def test_an_actor_that_cannot_work_says_why(pool_of: Pools) -> None:
    with pytest.raises(CapstanError, match="no such captioner"):
        list(pool_of(2, {-2: "no such captioner"}).run(range(3)))


def test_a_shard_that_fails_ends_the_run(pool_of: Pools) -> None:
    with pytest.raises(CapstanError, match="shard 2: no"):
        list(pool_of(2, {2: "fail"}).run(range(9)))


def test_actors_that_find_no_room_hold_up_nothing(pool_of: Pools) -> None:
    done = [summary.shard_id for summary in pool_of(5, dict.fromkeys(range(10), 0.1)).run(range(10))]
    assert sorted(done) == list(range(10))


def test_an_end_from_outside_ends_the_actors(pool_of: Pools) -> None:
    pool = pool_of(2, dict.fromkeys(range(10), 60.0) | {0: 0.0})
    summaries = pool.run(range(10))
    assert next(summaries).shard_id == 0
    pool.close()
    end_s = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < end_s
        time.sleep(0.1)


class Answering:
    """Stands for all actors of a pool of one: what they are asked has these answers, in this order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    def __getattr__(self, _: str) -> Answering:
        return self

    def remote(self, *_: object) -> Answering:
        return self

    def future(self) -> Future[Any]:
        future: Future[Any] = Future()
        answer = self.answers.pop(0)
        if isinstance(answer, Future):
            return answer
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future

    def pool(self, notes: list[str]) -> ActorPool:
        pool = ActorPool(lambda: self, 1, notes.append)
        pool._remove = pool._members.remove  # type: ignore[method-assign, assignment]
        return pool


def result(shard_id: int, *, is_worn_out: bool = False) -> ShardResult:
    return ShardResult(ShardSummary(shard_id, OutcomeCounts(1), "b", 0.0, 1.0), is_worn_out=is_worn_out)


@pytest.mark.parametrize("error", [OutOfMemoryError("the node is short of memory"), NodeDiedError("gone")])
def test_an_actor_that_ray_ends_is_replaced_too(error: Exception) -> None:
    """Ray calls these by names of their own."""
    actors = Answering(error, "", result(0))
    assert [summary.shard_id for summary in actors.pool([]).run([0])] == [0]
    assert not actors.answers


def test_a_later_actor_that_cannot_start_is_replaced_with_a_note() -> None:
    notes: list[str] = []
    refusing = ["no such mount"] * 3
    actors = Answering(
        "", result(0, is_worn_out=True), *refusing, "", result(1, is_worn_out=True), *refusing, "", result(2)
    )
    assert [summary.shard_id for summary in actors.pool(notes).run(range(3))] == [0, 1, 2]
    assert notes == ["a worker could not start and is replaced: no such mount"]


def test_while_others_work_an_actor_that_cannot_start_is_not_tried_again_at_once() -> None:
    """Its machine is where CPUs are free, so that the next one would come there, too, and fail as fast."""
    busy: Future[Any] = Future()
    worker = Answering("", busy, result(1), result(2))
    refusing = Answering(*["no such mount"] * 99)
    starts = iter([worker])
    pool = ActorPool(lambda: next(starts, refusing), 2)
    pool._remove = pool._members.remove  # type: ignore[method-assign, assignment]
    Timer(0.3, lambda: busy.set_result(result(0))).start()
    assert [summary.shard_id for summary in pool.run(range(3))] == [0, 1, 2]
    assert 99 - len(refusing.answers) <= 3


def test_too_many_later_actors_that_cannot_start_end_the_run() -> None:
    actors = Answering("", result(0, is_worn_out=True), *["no such mount"] * 99)
    with pytest.raises(CapstanError, match="7 workers could not start: no such mount"):
        list(actors.pool([]).run(range(3)))

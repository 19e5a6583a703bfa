"""Pending shards through a pool of captioner actors.

Each actor has one shard at a time and gets the next when it is done, so that no shard waits behind a busy actor while
another idles. Images never travel: actors read the plan and the images, write the shard's part, and send back its
counts. The driver sleeps until an actor has something to say.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

from caption_core.engine.shard_actor import ShardActor, ShardResult
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.errors import CapstanError
from caption_core.images import describe

# The last two are what Ray says of actors that it ends itself, for want of memory or with their machine.
_LOST = (RayActorError, OutOfMemoryError, NodeDiedError)

# Actors that may be lost or fail while they load before one of them works, beyond what a machine that goes away takes
# along.
_LOST_IN_A_ROW = 5


def caption_shards(
    shard_ids: Sequence[int],
    work: CaptioningWork,
    size: int,
    options: dict[str, Any],
    note: Callable[[str], None] = lambda _: None,
) -> Generator[ShardSummary, None, None]:
    """Caption shards on the connected cluster; yields a summary as each shard is committed, in no order.

    Args:
        shard_ids: in the order in which they are begun.
        work: what actors are told.
        size: actors at most. Those that don't fit now start when there is room for them.
        options: of each actor: what it claims, and its runtime environment.
        note: called with what the user should know while the run goes on.

    Raises:
        CapstanError: workers can't work, or the same shard lost its worker too often.
    """
    actor_class = ray.remote(ShardActor).options(num_cpus=work.threads, num_gpus=work.gpus, **options)
    told = ray.put(work)  # once, since a bundle may be large
    pool = ActorPool(lambda: actor_class.remote(told), size, note)
    try:
        yield from pool.run(shard_ids)
    finally:
        pool.close()


@dataclass(eq=False)
class _Member:
    """An actor, and its shard; none while it starts."""

    actor: Any
    shard_id: int | None = None


class ActorPool:
    """Actors that take shards from one queue.

    An actor that is lost, with its process or its machine, is replaced, and its shard goes to the next that is free.
    So is one that can't start, once another one could: its machine may not be ready, or something refuses for a while.
    When no shard is left, actors are let go one by one.

    Args:
        start: starts an actor with the methods of `ShardActor`.
        size: actors at most.
        note: called with what the user should know, once with each text.
    """

    def __init__(self, start: Callable[[], Any], size: int, note: Callable[[str], None] = lambda _: None) -> None:
        self._start, self._size, self._note = start, size, note
        self._members: set[_Member] = set()
        self._pending: deque[int] = deque()
        self._answers: SimpleQueue[tuple[_Member, Future[Any]]] = SimpleQueue()
        self._lost_in_a_row = 0
        self._has_started = False
        self._noted: set[str] = set()

    def run(self, shard_ids: Sequence[int]) -> Generator[ShardSummary, None, None]:
        """Yields a summary as each shard is committed.

        Raises:
            CapstanError: the first actor can't start, a shard fails, or too many actors were lost or failed in a row
                while they loaded.
        """
        self._pending.extend(shard_ids)
        self._fill()
        while self._members:
            member, answer = self._answers.get()
            if member in self._members and (summary := self._taken(member, answer)) is not None:
                yield summary

    def close(self) -> None:
        """End all actors, whatever they do."""
        for member in self._members:
            ray.kill(member.actor)
        self._members.clear()

    def _taken(self, member: _Member, answer: Future[Any]) -> ShardSummary | None:
        """Act on an answer; returns the summary of a shard that is done."""
        # Not raised here: a traceback would keep the frames below, and with them actors.
        error = answer.exception()
        if isinstance(error, _LOST):
            self._lose(member, error)
            return None
        if error is not None:
            raise CapstanError(f"Ray gave up: {describe(error)}") from error
        result = answer.result()
        if isinstance(result, str) and result:
            self._fail_to_start(member, result)
            return None
        self._has_started, self._lost_in_a_row = True, 0
        if isinstance(result, ShardResult):
            return self._done(member, result)
        self._go_on(member)
        return None

    def _done(self, member: _Member, result: ShardResult) -> ShardSummary:
        if result.summary is None:
            raise CapstanError(result.failure)
        member.shard_id = None
        if result.is_worn_out:
            self._remove(member)
        else:
            self._go_on(member)
        self._fill()
        return result.summary

    def _go_on(self, member: _Member) -> None:
        """Give an actor that is free its next shard, or let it go."""
        if not self._pending:
            # An actor without references ends by itself, once what it has to tell is told.
            self._members.remove(member)
            self._release_unstarted()
            return
        member.shard_id = self._pending.popleft()
        self._ask(member, member.actor.caption_shard.remote(member.shard_id))

    def _lose(self, member: _Member, error: BaseException) -> None:
        if member.shard_id is not None:
            self._pending.appendleft(member.shard_id)  # which keeps its own account of workers that it lost
        elif self._are_too_many_lost():
            raise CapstanError(f"{self._lost_in_a_row} workers died while they loaded: {describe(error)}") from error
        self._remove(member)
        self._fill()

    def _fail_to_start(self, member: _Member, failure: str) -> None:
        if not self._has_started:
            raise CapstanError(failure)
        if failure not in self._noted:
            self._noted.add(failure)
            self._note(f"a worker could not start and is replaced: {failure}")
        self._remove(member)
        if any(other.shard_id is not None for other in self._members):
            return  # the next try comes when one of these is done: until then its machine may get ready
        if self._are_too_many_lost():
            raise CapstanError(f"{self._lost_in_a_row} workers could not start: {failure}")
        self._fill()

    def _are_too_many_lost(self) -> bool:
        """Count one more that was lost while it loaded."""
        self._lost_in_a_row += 1
        return self._lost_in_a_row > self._size + _LOST_IN_A_ROW

    def _remove(self, member: _Member) -> None:
        """End an actor by force: threads may hang in it, or it may be out of reach for a while only."""
        self._members.remove(member)
        ray.kill(member.actor)

    def _fill(self) -> None:
        """Start as many actors as there is work for."""
        starting = sum(member.shard_id is None for member in self._members)
        for _ in range(min(self._size - len(self._members), len(self._pending) - starting)):
            member = _Member(self._start())
            self._members.add(member)
            self._ask(member, member.actor.failure.remote())

    def _release_unstarted(self) -> None:
        """Actors that still wait for room would otherwise hold up the end."""
        for member in [member for member in self._members if member.shard_id is None]:
            self._remove(member)

    def _ask(self, member: _Member, answer: ray.ObjectRef[Any]) -> None:
        answer.future().add_done_callback(lambda future: self._answers.put((member, future)))

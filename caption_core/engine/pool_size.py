"""How many captioner actors a run gets, given what was asked for and what there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caption_core.errors import UsageError

_RANGE = re.compile(r"(\d+)(?::(\d+))?")


@dataclass(frozen=True, slots=True)
class ActorRange:
    """Bounds of a pool of actors, as the user asks for them."""

    minimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise UsageError(f"--actors {self.minimum}:{self.maximum}: must be MIN:MAX with 1 <= MIN <= MAX")

    @classmethod
    def parse(cls, text: str) -> ActorRange:
        """Read 'MIN:MAX', or 'N' for a pool of fixed size.

        Raises:
            UsageError: the text is neither.
        """
        match = _RANGE.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--actors {text}: must be MIN:MAX, for example 2:8")
        return cls(int(match[1]), int(match[2] or match[1]))


@dataclass(frozen=True, slots=True)
class PoolSize:
    """Size of a pool that can run.

    Attributes:
        minimum: actors that must fit for the run to begin.
        initial: actors that fit now.
        maximum: actors at most; those that don't fit begin when machines join.
        notes: what was changed from the request and why, for the user.
    """

    minimum: int
    initial: int
    maximum: int
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """The size in words."""
        if self.minimum == self.maximum:
            return f"{self.maximum} actor" + ("" if self.maximum == 1 else "s")
        return f"{self.minimum} to {self.maximum} actors, {self.initial} to begin with"


@dataclass(frozen=True, slots=True)
class ActorClaim:
    """What an actor claims of its machine.

    Attributes:
        cpus: whole ones.
        gpus: a share of one, or whole ones; 0 for none.
        decoders: CPUs beside its own, on any machine, that are to decode for it.
    """

    cpus: int
    gpus: float = 0.0
    decoders: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= 1024:
            raise UsageError(f"CPUs per actor must lie between 1 and 1,024, not {self.cpus}")
        if not (0 <= self.gpus <= 1 or (self.gpus <= 64 and self.gpus == int(self.gpus))):
            raise UsageError(f"GPUs per actor must be a share of one, or a whole number up to 64, not {self.gpus:g}")
        if not 0 <= self.decoders <= 1024:
            raise UsageError(f"decoders per actor must lie between 0 and 1,024, not {self.decoders}")

    @property
    def bundles(self) -> list[dict[str, float]]:
        """All that is claimed, in Ray's words, by machine."""
        return [self.resources, *[{"CPU": 1.0}] * self.decoders]

    def count_with_decoders(self, cpus: float) -> int:
        """Actors for which a cluster of so many CPUs has room, and for those who decode for them."""
        return int(cpus // (self.cpus + self.decoders))

    @property
    def resources(self) -> dict[str, float]:
        """In Ray's words."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def cpus_of(self, node: Mapping[str, float]) -> float:
        """CPUs of a machine that such actors can use; its GPUs may run out first."""
        cpus, gpus = node.get("CPU", 0.0), int(node.get("GPU", 0.0))
        if not self.gpus:
            return cpus
        # A share lies on one GPU. Ray keeps shares in ten-thousandths.
        return min(cpus, self.cpus * (gpus * int(1 / self.gpus + 1e-4) if self.gpus < 1 else gpus // int(self.gpus)))


ANY_CLAIM = ActorClaim(1)
"""One CPU, which every machine that works has."""


def count_fitting(node_cpus: Sequence[float], cpus_per_actor: int) -> int:
    """Actors that fit on machines with so many CPUs each; none spans two machines."""
    return sum(int(cpus // cpus_per_actor) for cpus in node_cpus)


def fit_pool(
    asked: ActorRange | None, cpus_per_actor: int, node_cpus: Sequence[float], num_shards: int, *, can_grow: bool
) -> PoolSize:
    """Size a pool so that it starts: actors that never get their CPUs would hang the run.

    Args:
        asked: the user's bounds; by default as many actors as fit now.
        cpus_per_actor: CPUs that each actor claims.
        node_cpus: CPUs of each machine of the cluster.
        num_shards: pending shards; more actors than shards would idle.
        can_grow: whether machines may join, so that a larger maximum is worth keeping.

    Raises:
        UsageError: not even the smallest pool fits.
    """
    fitting = count_fitting(node_cpus, cpus_per_actor)
    if fitting == 0:
        raise UsageError(
            f"an actor needs {cpus_per_actor} CPUs, but the largest machine has {max(node_cpus, default=0):g}"
        )
    asked = asked or ActorRange(fitting, fitting)
    if min(asked.minimum, num_shards) > fitting:
        raise UsageError(
            f"--actors asks for at least {asked.minimum} actors of {_cpus(cpus_per_actor)}, "
            f"but only {fitting} fit on {_cpus(sum(node_cpus))}"
        )
    notes: tuple[str, ...] = ()
    if min(asked.maximum, num_shards) > fitting:
        notes = (_too_many_note(asked, cpus_per_actor, node_cpus, fitting, can_grow),)
    maximum = min(asked.maximum if can_grow else fitting, asked.maximum, num_shards)
    return PoolSize(min(asked.minimum, maximum), min(fitting, maximum), maximum, notes)


def leave_cpus(pool: PoolSize, asked: ActorRange | None, claim: ActorClaim, cpus: float) -> PoolSize:
    """Shrink a pool so that those who decode for its actors have CPUs from the beginning.

    Args:
        pool: the size without them.
        asked: the user's bounds, if any.
        claim: of each actor.
        cpus: of the whole cluster.

    Raises:
        UsageError: not even the smallest pool leaves enough.
    """
    if not claim.decoders:
        return pool
    fitting, least = claim.count_with_decoders(cpus), pool.minimum if asked else 1
    if fitting < least:
        actors = f"{least} actor" + ("s" if least > 1 else "")
        decoders = f"{_cpus(claim.decoders)} to decode for each"
        raise UsageError(f"{actors} of {_cpus(claim.cpus)}, with {decoders}, don't fit on {_cpus(cpus)}")
    if fitting >= pool.maximum:
        return pool
    note = f"{fitting} of {pool.maximum} actors will run, so that {_cpus(claim.decoders)} can decode for each"
    return PoolSize(min(pool.minimum, fitting), min(pool.initial, fitting), fitting, (*pool.notes, note))


def _too_many_note(
    asked: ActorRange, cpus_per_actor: int, node_cpus: Sequence[float], fitting: int, can_grow: bool
) -> str:
    until = " until machines join" if can_grow else ""
    return (
        f"--actors asks for up to {asked.maximum} actors of {_cpus(cpus_per_actor)}; "
        f"{fitting} fit on {_cpus(sum(node_cpus))}, so {fitting} will run{until}"
    )


def _cpus(number: float) -> str:
    return f"{number:g} CPU" + ("" if number == 1 else "s")

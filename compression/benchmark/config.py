"""What a benchmark measures."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Literal

from caption_core.engine.cluster import ClusterConfig, ClusterKind
from caption_core.engine.pool_size import ActorClaim
from caption_core.errors import UsageError

NOOP = "noop"
"""In place of a bundle: a captioner that says the same of every image, at once."""

_NEEDED = ("actors", "batch_sizes", "cpus_per_actor")

Source = Literal["files", "memory"]


@dataclass(frozen=True, slots=True)
class BenchmarkConfig:
    """A sweep over captioners, pools and batches.

    Attributes:
        variants: bundles by name; None is the captioner that does nothing.
        images: folder whose images are captioned, over and over.
        output: folder of the report.
        source: where actors read the images from: their files, or memory.
        num_images: that a job captions.
        shard_size: images a part.
        actors: sizes of the pool.
        batch_sizes: images in one call of the captioner.
        beam_widths: of the search; none for each captioner's own.
        precisions: of float captioners' activations; others keep their own.
        repeats: rounds, in which all take turns.
        cpus_per_actor: CPUs that an actor claims and uses. Of the pools, those that this machine is too small for are
            left out.
        gpus_per_actor: GPUs, or a share of one, that an actor claims.
        decoders: tasks elsewhere that decode for each actor.
        stages: whether to measure stages and the loop by hand too, in one process on this machine.
        cluster: where the jobs run.
    """

    variants: Mapping[str, Path | None]
    images: Path
    output: Path
    source: Source = "files"
    num_images: int = 4096
    shard_size: int = 256
    actors: tuple[int, ...] = (1, 2)
    batch_sizes: tuple[int, ...] = (32,)
    beam_widths: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ("float32",)
    repeats: int = 3
    cpus_per_actor: tuple[int, ...] = (1,)
    gpus_per_actor: float = 0.0
    decoders: int = 0
    stages: bool = True
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def claim(self, cpus: int) -> ActorClaim:
        """Of each actor with so many CPUs.

        Raises:
            UsageError: a number is out of range.
        """
        return ActorClaim(cpus, self.gpus_per_actor, self.decoders)

    def pools(self) -> list[tuple[int, int]]:
        """(actors, CPUs of each) of all pools that there is room for."""
        found = product(self.actors, self.cpus_per_actor)
        return [(actors, cpus) for actors, cpus in found if self._has_room(actors, cpus)]

    def _has_room(self, actors: int, cpus: int) -> bool:
        cores = len(os.sched_getaffinity(0))
        return self.cluster.kind is not ClusterKind.LOCAL or actors * (cpus + self.decoders) <= cores

    def __post_init__(self) -> None:
        if not self.variants:
            raise UsageError("a benchmark needs at least one captioner")
        for what in ("num_images", "shard_size", "repeats"):
            if getattr(self, what) < 1:
                raise UsageError(f"{what.replace('_', ' ')} must be at least 1, not {getattr(self, what)}")
        if not self.precisions or len(set(self.precisions)) < len(self.precisions):
            raise UsageError(f"precisions must be different ones, not {self.precisions}")
        for what in ("actors", "batch_sizes", "beam_widths", "cpus_per_actor"):
            values = getattr(self, what)
            if any(value < 1 for value in values) or len(set(values)) < len(values) or (what in _NEEDED and not values):
                raise UsageError(f"{what.replace('_', ' ')} must be different numbers from 1, not {values}")
        if 2 * self.shard_size * max(self.actors) > self.num_images:
            raise UsageError(
                f"{self.num_images:,} images in shards of {self.shard_size:,} are too few for {max(self.actors)} "
                "actors: a steady rate needs two shards an actor at least"
            )
        for cpus in self.cpus_per_actor:
            self.claim(cpus)  # which checks the numbers
        if self.gpus_per_actor and self.stages:
            raise UsageError("stages and the loop by hand are timed on CPUs: leave them out where actors have GPUs")
        self._check_room()

    def _check_room(self) -> None:
        """Refuse sizes of the pool, and numbers of CPUs, that would be in no row."""
        pools = self.pools()
        for actors, cpus in product(self.actors, self.cpus_per_actor):
            if all(pool[0] != actors for pool in pools) or all(pool[1] != cpus for pool in pools):
                raise UsageError(
                    f"{actors} actors of {cpus + self.decoders} CPUs don't fit on this machine's "
                    f"{len(os.sched_getaffinity(0))} cores"
                )

"""The plan of a run: which image belongs to which shard, the same each time the same archive is listed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from caption_core.errors import UsageError
from caption_core.records import ImageRef

# A shard is what a killed run loses at most, and what one actor works on at a time: large enough that a part file and
# its scheduling (some tens of milliseconds) cost nothing, small enough that it is done in seconds.
DEFAULT_SHARD_SIZE = 256
# A small archive is cut finer, so that there are shards for several actors; not below this many images a shard.
SMALLEST_DEFAULT_SHARD = 32
_SHARDS_OF_SMALL_ARCHIVE = 16

# Above, a file count a folder becomes a burden for readers; and a part of a million rows is still read comfortably.
LARGEST_SHARD = 1_000_000


@dataclass(frozen=True, slots=True)
class Shard:
    """Images that are captioned together and committed as one part."""

    shard_id: int
    refs: tuple[ImageRef, ...]


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """All shards of a run.

    Attributes:
        shards: in order; shard i has shard_id i.
        shard_size: images a shard; the last one may hold fewer.
        digest: SHA-256 over the names and sizes of all images in order; another archive has another digest.
    """

    shards: tuple[Shard, ...]
    shard_size: int
    digest: str

    @property
    def num_images(self) -> int:
        """Images in all shards."""
        return sum(len(shard.refs) for shard in self.shards)


def plan_shards(refs: Iterable[ImageRef], shard_size: int | None = None) -> ShardPlan:
    """Cut images into shards, in the order they come.

    Args:
        refs: each image once, in a reproducible order.
        shard_size: images a shard; by default it depends on the number of images alone, never on the machine, so that
            a run can be resumed on another one.

    Raises:
        UsageError: the shard size is out of range.
    """
    if shard_size is not None and not 1 <= shard_size <= LARGEST_SHARD:
        raise UsageError(f"shard size must lie between 1 and {LARGEST_SHARD:,}, not {shard_size}")
    listed = tuple(refs)
    size = shard_size or default_shard_size(len(listed))
    shards = tuple(Shard(shard_id, chunk) for shard_id, chunk in enumerate(_chunks(listed, size)))
    return ShardPlan(shards, size, _digest(listed))


def default_shard_size(num_images: int) -> int:
    """Images a shard where the user doesn't say."""
    fine = -(-num_images // _SHARDS_OF_SMALL_ARCHIVE)
    return min(DEFAULT_SHARD_SIZE, max(SMALLEST_DEFAULT_SHARD, fine))


def _chunks(refs: Iterable[ImageRef], size: int) -> Iterator[tuple[ImageRef, ...]]:
    remaining = iter(refs)
    while chunk := tuple(islice(remaining, size)):
        yield chunk


def _digest(refs: Iterable[ImageRef]) -> str:
    digest = hashlib.sha256()
    for ref in refs:
        name = ref.image_id.encode("utf-8")
        # The length keeps apart names that would run into each other.
        digest.update(b"%d:%s:%d;" % (len(name), name, ref.num_bytes))
    return digest.hexdigest()

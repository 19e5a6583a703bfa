"""The plan of a run in numbers: how many images there are, and which shard holds which of them."""

from __future__ import annotations

from dataclasses import dataclass

from caption_core.errors import UsageError

# A shard is what a killed run loses at most, and what one actor works on at a time: large enough that a part file and
# its scheduling (some tens of milliseconds) cost nothing, small enough that it is done in seconds.
DEFAULT_SHARD_SIZE = 256
# A small archive is cut finer, so that there are shards for several actors; not below this many images a shard.
SMALLEST_DEFAULT_SHARD = 32
_SHARDS_OF_SMALL_ARCHIVE = 16
# A large one is cut coarser: file after file is a burden for readers, and for those who pay for each request.
_PARTS_OF_LARGE_ARCHIVE = 10_000

# Above, a part's rows no longer fit comfortably into a worker's memory.
LARGEST_SHARD = 1_000_000


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """A run's images, in order, cut into shards of equal size; the last one may be smaller.

    Attributes:
        num_images: in all shards.
        shard_size: images a shard.
        digest: SHA-256 over all references in order; another archive has another digest.
        num_bytes: of all images whose size the listing tells.
        num_unsized: images whose size it doesn't tell.
    """

    num_images: int
    shard_size: int
    digest: str
    num_bytes: int = 0
    num_unsized: int = 0

    @property
    def num_shards(self) -> int:
        """Shards, and so parts."""
        return -(-self.num_images // self.shard_size)

    def images_of(self, shard_id: int) -> range:
        """Which images a shard holds, by their position in the plan; none where there is no such shard."""
        start = shard_id * self.shard_size
        return range(min(start, self.num_images), min(start + self.shard_size, self.num_images))


def chosen_shard_size(num_images: int, shard_size: int | None) -> int:
    """Images a shard: the user's number, or one that depends on the number of images alone.

    It never depends on the machine, so that a run can be resumed on another one.

    Raises:
        UsageError: the user's number is out of range.
    """
    if shard_size is None:
        return default_shard_size(num_images)
    if not 1 <= shard_size <= LARGEST_SHARD:
        raise UsageError(f"shard size must lie between 1 and {LARGEST_SHARD:,}, not {shard_size}")
    return shard_size


def default_shard_size(num_images: int) -> int:
    """Images a shard where the user doesn't say."""
    fine = -(-num_images // _SHARDS_OF_SMALL_ARCHIVE)
    coarse = -(-num_images // _PARTS_OF_LARGE_ARCHIVE)
    return min(LARGEST_SHARD, max(coarse, min(DEFAULT_SHARD_SIZE, max(SMALLEST_DEFAULT_SHARD, fine))))

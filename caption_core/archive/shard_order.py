"""The order in which shards are begun: the heavy ones first, so that none of them is what the end waits for.

The longest-processing-time rule (Graham 1969), with bytes for time, which isn't known: images of many bytes have many
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from caption_core.archive.shards import ShardPlan


def shard_bytes(plan: ShardPlan, sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bytes of each shard's images, (shards,); an image of unknown size counts as much as the others do on average.

    Args:
        plan: which shard holds which images.
        sizes: of all images in order, in bytes, (images,); below 0 where unknown.
    """
    starts = np.arange(plan.num_shards) * plan.shard_size
    return np.asarray(np.add.reduceat(np.where(sizes < 0, _mean_size(plan), sizes), starts), np.float64)


def heavy_first(shard_ids: Sequence[int], num_bytes: NDArray[np.float64]) -> list[int]:
    """The same shards, in the order to begin them.

    Shards of about the same weight stay in order: inputs that are read forwards, such as compressed archives, are read
    so best.

    Args:
        shard_ids: ascending.
        num_bytes: of all shards of the plan, (shards,).
    """
    mean = num_bytes.mean() if len(num_bytes) else 0.0
    if not mean:
        return list(shard_ids)
    # Classes of weight, each twice as heavy as the one below; an empty file's shard is in the lowest.
    classes = np.rint(np.log2(np.maximum(num_bytes, 1) / mean))
    return sorted(shard_ids, key=lambda shard_id: -classes[shard_id])


def _mean_size(plan: ShardPlan) -> float:
    num_sized = plan.num_images - plan.num_unsized
    return plan.num_bytes / num_sized if num_sized else 0.0

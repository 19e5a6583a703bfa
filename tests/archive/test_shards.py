"""The plan in numbers: every image in exactly one shard, and a size that depends on nothing but their number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.shards import ShardPlan, chosen_shard_size, default_shard_size
from caption_core.errors import UsageError


@given(st.integers(0, 500), st.integers(1, 60))
def test_every_image_is_in_exactly_one_shard_in_order(num_images: int, shard_size: int) -> None:
    plan = ShardPlan(num_images, shard_size, "d")
    shards = [plan.images_of(shard_id) for shard_id in range(plan.num_shards)]
    assert [image for shard in shards for image in shard] == list(range(num_images))
    assert all(len(shard) == shard_size for shard in shards[:-1])
    assert all(shards)
    assert len(plan.images_of(plan.num_shards)) == 0


@pytest.mark.parametrize(
    ("num_images", "shard_size"),
    [(0, 32), (8, 32), (512, 32), (1000, 63), (8000, 256), (10**6, 256), (10**7, 1000), (10**10, 10**6)],
)
def test_the_default_size_depends_on_the_number_of_images_alone(num_images: int, shard_size: int) -> None:
    assert default_shard_size(num_images) == shard_size


def test_the_users_size_is_used() -> None:
    assert chosen_shard_size(1000, None) == default_shard_size(1000)
    assert chosen_shard_size(1000, 10) == 10


@pytest.mark.parametrize("shard_size", [0, -1, 1_000_001])
def test_a_size_out_of_range_is_wrong_usage(shard_size: int) -> None:
    with pytest.raises(UsageError, match="shard size"):
        chosen_shard_size(1, shard_size)

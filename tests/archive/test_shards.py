"""The plan: every image once, in order, and the same each time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.shards import DEFAULT_SHARD_SIZE, default_shard_size, plan_shards
from caption_core.errors import UsageError
from caption_core.records import ImageRef

REFS = st.lists(st.builds(ImageRef, st.text(max_size=4), st.just("file:///x"), st.integers(-1, 3)), max_size=50)


def refs(number: int) -> list[ImageRef]:
    return [ImageRef(f"{index}.png", f"file:///{index}.png", index) for index in range(number)]


@given(REFS, st.integers(1, 60))
def test_every_image_is_in_exactly_one_shard_in_order(images: list[ImageRef], shard_size: int) -> None:
    plan = plan_shards(iter(images), shard_size)
    assert [ref for shard in plan.shards for ref in shard.refs] == images
    assert [shard.shard_id for shard in plan.shards] == list(range(len(plan.shards)))
    assert all(len(shard.refs) == shard_size for shard in plan.shards[:-1])
    assert all(shard.refs for shard in plan.shards)
    assert plan.num_images == len(images)


@given(REFS, REFS)
def test_digests_are_equal_exactly_for_equal_archives(one: list[ImageRef], other: list[ImageRef]) -> None:
    same = [(ref.image_id, ref.num_bytes) for ref in one] == [(ref.image_id, ref.num_bytes) for ref in other]
    assert (plan_shards(one).digest == plan_shards(other).digest) == same


@pytest.mark.parametrize(
    "changed",
    [
        refs(3)[:2],
        [*refs(3), ImageRef("new.png", "file:///new.png", 1)],
        [refs(3)[1], refs(3)[0], refs(3)[2]],
        [*refs(3)[:2], replace(refs(3)[2], num_bytes=99)],
    ],
)
def test_a_changed_archive_has_another_digest(changed: list[ImageRef]) -> None:
    assert plan_shards(changed).digest != plan_shards(refs(3)).digest


def test_an_archive_that_moved_is_the_same_archive() -> None:
    moved = [replace(ref, uri=ref.uri.replace("///", "///elsewhere/")) for ref in refs(3)]
    assert plan_shards(moved).digest == plan_shards(refs(3)).digest


@pytest.mark.parametrize(
    ("num_images", "shard_size"), [(0, 32), (8, 32), (512, 32), (1000, 63), (8000, 256), (10**7, DEFAULT_SHARD_SIZE)]
)
def test_the_default_size_depends_on_the_number_of_images_alone(num_images: int, shard_size: int) -> None:
    assert default_shard_size(num_images) == shard_size


def test_the_default_size_is_used() -> None:
    assert plan_shards(refs(1000)).shard_size == default_shard_size(1000)
    assert plan_shards(refs(1000), 10).shard_size == 10


@pytest.mark.parametrize("shard_size", [0, -1, 1_000_001])
def test_a_size_out_of_range_is_wrong_usage(shard_size: int) -> None:
    with pytest.raises(UsageError, match="shard size"):
        plan_shards(refs(1), shard_size)

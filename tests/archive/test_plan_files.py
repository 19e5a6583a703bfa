"""The plan on disk: every reference once, in order, the same however it came, and unique ids."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive import plan_files, refs
from caption_core.archive.plan_files import PlannedRefs, PlanReader, first_difference, write_plan
from caption_core.archive.refs import REF_SCHEMA, batch_to_refs, refs_to_batch
from caption_core.archive.storage import Storage
from caption_core.records import ImageRef

TEXTS = st.text(st.sampled_from("ab#2é\0"), max_size=4)
IMAGES = st.lists(st.builds(ImageRef, TEXTS, st.just("file:///x"), st.integers(-1, 3), TEXTS), max_size=40)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small plans have several batches and files."""
    monkeypatch.setattr(plan_files, "ROWS_PER_BATCH", 4)
    monkeypatch.setattr(plan_files, "BATCHES_PER_FILE", 2)


def batches(images: Sequence[ImageRef], size: int = 3) -> list[pa.RecordBatch]:
    return [refs_to_batch(images[start : start + size]) for start in range(0, len(images), size)]


def planned(images: Sequence[ImageRef], size: int = 3) -> tuple[PlannedRefs, list[ImageRef]]:
    with tempfile.TemporaryDirectory() as folder:
        storage = Storage.at(folder)
        result = write_plan(iter(batches(images, size)), storage)
        return result, PlanReader(storage).refs(range(result.num_images))


@settings(deadline=None, max_examples=30)
@given(IMAGES)
def test_sizes_are_told_and_added_up(images: list[ImageRef]) -> None:
    result, _ = planned(images)
    sizes = [image.num_bytes for image in images]
    assert result.sizes.tolist() == sizes
    assert (result.num_bytes, result.num_unsized) == (sum(size for size in sizes if size > 0), sizes.count(-1))


def numbered(number: int) -> list[ImageRef]:
    return [ImageRef(f"{index}.png", f"file:///{index}.png", index) for index in range(number)]


def digest(images: Sequence[ImageRef]) -> str:
    return planned(images)[0].digest


@settings(deadline=None, max_examples=60)
@given(IMAGES, st.integers(1, 9))
def test_every_reference_is_there_once_and_in_order_with_an_id_of_its_own(images: list[ImageRef], size: int) -> None:
    result, found = planned(images, size)
    assert [replace(ref, image_id="") for ref in found] == [replace(ref, image_id="") for ref in images]
    ids = [ref.image_id for ref in found]
    assert len(set(ids)) == len(ids) == result.num_images
    for index, image in enumerate(images):
        is_first = image.image_id not in [other.image_id for other in images[:index]]
        assert (ids[index] == image.image_id) == is_first
        assert ids[index].startswith(image.image_id)
    assert result.num_renamed == sum(one != other.image_id for one, other in zip(ids, images, strict=True))
    assert result.num_bytes == sum(max(0, image.num_bytes) for image in images)
    assert result.num_unsized == sum(image.num_bytes < 0 for image in images)


@settings(deadline=None, max_examples=40)
@given(IMAGES, st.integers(1, 9), st.integers(1, 9))
def test_how_the_references_come_makes_no_difference(images: list[ImageRef], one: int, other: int) -> None:
    assert planned(images, one) == planned(images, other)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 30), st.integers(0, 35), st.integers(0, 35))
def test_any_range_is_read(number: int, one: int, other: int) -> None:
    start, stop = sorted((min(one, number), min(other, number)))
    with tempfile.TemporaryDirectory() as folder:
        write_plan(iter(batches(numbered(number))), Storage.at(folder))
        assert PlanReader(Storage.at(folder)).refs(range(start, stop)) == numbered(number)[start:stop]


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        (numbered(9)[:8], "image 9 was '8.png' (8 bytes) and is not there"),
        ([*numbered(9), ImageRef("new.png", "", -1)], "image 10 was not there and is 'new.png'"),
        ([numbered(9)[1], numbered(9)[0], *numbered(9)[2:]], "image 1 was '0.png' (0 bytes) and is '1.png' (1 bytes)"),
        ([*numbered(9)[:8], replace(numbered(9)[8], num_bytes=99)], "'8.png' (8 bytes) and is '8.png' (99 bytes)"),
        ([*numbered(9)[:8], replace(numbered(9)[8], locator="77")], "image 9 was"),
    ],
)
def test_a_changed_archive_has_another_digest_and_the_change_is_named(changed: list[ImageRef], difference: str) -> None:
    assert digest(changed) != digest(numbered(9))
    assert difference in first_difference(batches(numbered(9), 4), batches(changed, 4))


def test_an_archive_that_moved_is_the_same_archive() -> None:
    moved = [replace(ref, uri=ref.uri.replace("///", "///elsewhere/")) for ref in numbered(9)]
    assert digest(moved) == digest(numbered(9))
    assert first_difference(batches(numbered(9), 4), batches(moved, 4)) == ""


def test_a_slice_is_digested_as_what_it_holds() -> None:
    whole = refs_to_batch(numbered(9))
    with tempfile.TemporaryDirectory() as folder:
        assert write_plan([whole.slice(2, 5)], Storage.at(folder)).digest == digest(numbered(9)[2:7])


def test_a_new_name_is_no_other_images_name() -> None:
    ids = ["a", "b", "a", "a#2", "a", "b", "c"]
    _, found = planned([ImageRef(name, "") for name in ids])
    assert [ref.image_id for ref in found] == ["a", "b", "a#3", "a#2", "a#4", "b#2", "c"]


def test_a_plan_of_nothing(tmp_path: Path) -> None:
    result = write_plan([], Storage.at(tmp_path))
    assert result.num_images == 0
    assert list(PlanReader(Storage.at(tmp_path)).batches()) == []


@given(IMAGES)
def test_references_survive_arrow(images: list[ImageRef]) -> None:
    assert batch_to_refs(refs_to_batch(images)) == images
    assert refs_to_batch(images).schema == REF_SCHEMA
    assert [ref for batch in refs.batches_of(iter(images)) for ref in batch_to_refs(batch)] == images

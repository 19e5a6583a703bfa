from __future__ import annotations

from pathlib import Path

import pytest

from caption_core.metrics.buckets import choose_num_buckets, divide, read_bucket
from caption_core.metrics.text_batches import batch_texts


@pytest.mark.parametrize("num_buckets", [1, 3, 17])
def test_every_row_is_in_one_bucket_and_an_image_in_one_only(num_buckets: int, tmp_path: Path) -> None:
    rows = [(f"image-{i % 40}.jpg", None if i % 7 == 0 else f"text {i}") for i in range(200)]
    batches = [batch for part in (rows[:90], rows[90:]) for batch in batch_texts(part)]
    divide(batches, tmp_path, "captions", num_buckets)
    buckets = [read_bucket(tmp_path, "captions", number) for number in range(num_buckets)]
    assert sorted(row for bucket in buckets for row in map(str, bucket)) == sorted(map(str, rows))
    places = {name: {number for number, bucket in enumerate(buckets) if name in dict(bucket)} for name, _ in rows}
    assert all(len(found) == 1 for found in places.values())
    for bucket in buckets:  # the order of an image's texts is kept
        for name in dict(bucket):
            assert [row for row in bucket if row[0] == name] == [row for row in rows if row[0] == name]


def test_captions_and_references_of_an_image_meet(tmp_path: Path) -> None:
    names = [f"{i}.jpg" for i in range(50)]
    for kind in ("captions", "references"):
        divide(batch_texts((name, kind) for name in names), tmp_path, kind, 5)
    for number in range(5):
        captions, references = (dict(read_bucket(tmp_path, kind, number)) for kind in ("captions", "references"))
        assert captions.keys() == references.keys()


def test_nothing_to_divide(tmp_path: Path) -> None:
    divide([], tmp_path, "captions", 2)
    assert read_bucket(tmp_path, "captions", 1) == []


def test_the_number_of_buckets() -> None:
    assert [choose_num_buckets(count) for count in (0, 1, 8_192, 8_193, 1_000_000, 10**9)] == [1, 1, 1, 2, 123, 400]

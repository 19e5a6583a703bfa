from pathlib import Path

import numpy as np
import pytest

from caption_core.errors import UsageError
from compression.measuring.pixels import pixel_batches, read_pixels


@pytest.fixture
def photographs(bundled: Path) -> list[Path]:
    return sorted((bundled / "photographs").glob("*.jpg"))


def test_batches_hold_the_files_in_order(photographs: list[Path]) -> None:
    batches = list(pixel_batches(photographs, (8, 6), batch=3, threads=2))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    together = np.concatenate(batches)
    assert together.dtype == np.uint8
    for pixels, file in zip(together, photographs, strict=True):
        np.testing.assert_array_equal(pixels, read_pixels(file, (8, 6)))


def test_no_file_is_no_batch() -> None:
    assert list(pixel_batches([], (8, 6), batch=3, threads=2)) == []


def test_only_one_batch_is_decoded_ahead(photographs: list[Path], tmp_path: Path) -> None:
    batches = pixel_batches([*photographs[:2], tmp_path / "none.jpg"], (8, 6), batch=1, threads=1)
    assert next(batches).shape == next(batches).shape == (1, 8, 6, 3)
    with pytest.raises(UsageError, match=r"none\.jpg"):
        next(batches)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"bad\.jpg"):
        read_pixels(tmp_path / "bad.jpg", (8, 6))

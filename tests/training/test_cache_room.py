"""A full disk: what is cached of encoders' features gives way, or the training ends with the cause."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from PIL import Image

from caption_core.errors import CapstanError
from caption_core.training.dataset import CaptionedImages
from caption_core.training.features import FeatureCache, cached_features

_SIDES = (8, 10, 12, 14)


@pytest.fixture
def images(tmp_path: Path) -> CaptionedImages:
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "red.png")
    return CaptionedImages(tmp_path, ("red.png",), (("red",),))


class Disk:
    """A folder of caches on a disk of so many bytes."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.num_bytes, self.said = folder, 1 << 20, list[str]()
        monkeypatch.setattr(os, "posix_fallocate", self._allocate)

    def _allocate(self, file: int, offset: int, num_bytes: int) -> None:
        assert (offset, num_bytes) == (0, os.fstat(file).st_size)
        if self.used > self.num_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def used(self) -> int:
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if path.suffix != ".lock"}

    def features(self, images: CaptionedImages, side: int) -> FeatureCache:
        """What a model without weights makes of images of so many pixels: a cache for each side."""
        tf_keras.backend.reset_uids()
        pixels = tf_keras.Input((side, side, 3))
        model = tf_keras.Model(pixels, tf_keras.layers.Reshape((-1, 3))(pixels))
        return cached_features(model, images, self.folder, views=1, log=self.said.append)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(tmp_path / "cache", monkeypatch)


def made_long_ago(disk: Disk, images: CaptionedImages) -> dict[int, str]:
    """A cache for each side, the first used longest ago; their names."""
    names: dict[int, str] = {}
    for time_s, side in enumerate(_SIDES, start=100):
        before = disk.names() if disk.folder.exists() else set()
        disk.features(images, side)
        (names[side],) = disk.names() - before
        os.utime(disk.folder / names[side], (time_s, time_s))
    return names


def test_what_was_used_longest_ago_gives_way_and_no_more_than_must(disk: Disk, images: CaptionedImages) -> None:
    names = made_long_ago(disk, images)
    disk.features(images, 8)  # used again, so that it is no longer the oldest
    disk.num_bytes = disk.used
    disk.said.clear()
    assert np.isfinite(disk.features(images, 9).views).all()
    assert names[10] not in disk.names()
    assert {names[8], names[12], names[14]} < disk.names()
    assert disk.said[0] == f"features: removed {names[10]}, unused for the longest time, to make room"
    assert disk.features(images, 10).views.shape == (1, 1, 100, 3), "made again where it is asked for"


def test_what_is_in_use_stays(disk: Disk, images: CaptionedImages) -> None:
    names = made_long_ago(disk, images)
    used = disk.features(images, 8)
    os.utime(disk.folder / names[8], (1, 1))
    disk.num_bytes = disk.used
    disk.features(images, 9)
    assert names[8] in disk.names()
    assert names[10] not in disk.names()
    del used
    disk.features(images, 11)
    assert names[8] not in disk.names(), "once nobody uses it"


def test_what_a_killed_run_left_gives_way(disk: Disk, images: CaptionedImages) -> None:
    names = made_long_ago(disk, images)
    left = disk.folder / "features-0123.partial"
    left.write_bytes(bytes(9000))
    os.utime(left, (1, 1))
    disk.num_bytes = disk.used
    disk.features(images, 9)
    assert not left.exists()
    assert set(names.values()) < disk.names()


def test_without_room_a_training_ends_with_the_cause_and_leaves_nothing(disk: Disk, images: CaptionedImages) -> None:
    disk.num_bytes = 100
    with pytest.raises(CapstanError, match=r"cache: no room for 0\.00 GB of encoder features .* --cache"):
        disk.features(images, 8)
    assert disk.names() == set()


def test_where_a_disk_can_not_tell_it_is_tried(
    disk: Disk, images: CaptionedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    assert disk.features(images, 8).views.shape == (1, 1, 64, 3)

"""A full disk: what is cached of encoders' features gives way, or the training ends with the cause."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras
from PIL import Image

from caption_core.errors import CapstanError, UsageError
from caption_core.training import features
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
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=self.num_bytes - self.used))

    @property
    def used(self) -> int:
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())

    def fill(self) -> None:
        """Leave less than a cache needs."""
        self.num_bytes = self.used + 1000

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
    disk.fill()
    disk.said.clear()
    assert np.isfinite(disk.features(images, 9).views).all()
    assert names[10] not in disk.names()
    assert {names[8], names[12], names[14]} < disk.names()
    assert disk.said[0] == f"features: removed {names[10]}, which nobody uses, to make room"
    assert disk.features(images, 10).views.shape == (1, 1, 100, 3), "made again where it is asked for"


def test_what_is_in_use_stays(disk: Disk, images: CaptionedImages) -> None:
    names = made_long_ago(disk, images)
    used = disk.features(images, 8)
    os.utime(disk.folder / names[8], (1, 1))
    disk.fill()
    disk.features(images, 9)
    assert names[8] in disk.names()
    assert names[10] not in disk.names()
    del used
    disk.features(images, 11)
    assert names[8] not in disk.names(), "once nobody uses it"


def test_what_a_killed_run_left_goes_first(disk: Disk, images: CaptionedImages) -> None:
    names = made_long_ago(disk, images)
    left = disk.folder / "features-0123.partial"
    left.write_bytes(bytes(9000))
    disk.fill()
    disk.features(images, 9)
    assert not left.exists()
    assert set(names.values()) < disk.names()


def test_without_room_a_training_ends_with_the_cause_and_nothing_is_removed(
    disk: Disk, images: CaptionedImages
) -> None:
    made_long_ago(disk, images)
    disk.fill()
    before = disk.names()
    with pytest.raises(
        CapstanError, match=r"cache: no room for 0\.2 MB of encoder features, 0\.0 MB are free: .*--cache"
    ):
        disk.features(images, 200)
    assert disk.names() == before


def fails(number: int) -> Callable[..., None]:
    def fail(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_quota_ends_a_training_likewise(disk: Disk, images: CaptionedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fails(errno.EDQUOT))
    with pytest.raises(CapstanError, match=r"no room for 0\.0 MB of encoder features, 1\.0 MB are free"):
        disk.features(images, 8)
    assert disk.names() == set()


def test_where_a_disk_can_not_tell_it_is_tried(
    disk: Disk, images: CaptionedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", fails(errno.EOPNOTSUPP))
    assert disk.features(images, 8).views.shape == (1, 1, 64, 3)


def test_what_fails_leaves_nothing(disk: Disk, images: CaptionedImages) -> None:
    (images.folder / "red.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"red\.png"):
        disk.features(images, 8)
    assert disk.names() == set()


def test_a_cache_has_all_of_its_blocks_before_it_is_filled(
    disk: Disk, images: CaptionedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def decode(_: Path, size: tuple[int, int]) -> np.ndarray:
        taken.append(disk.used)
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr(features, "_decode", decode)
    disk.features(images, 200)
    assert taken[0] >= 200 * 200 * 3 * 2

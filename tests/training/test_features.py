import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray
from PIL import Image

from caption_core.training.dataset import CaptionedImages
from caption_core.training.features import FeatureCache, cached_features, view_of


def test_views_are_the_image_its_mirror_and_crops_that_can_be_repeated() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 20, 20, 3)).astype(np.float32)
    assert np.array_equal(view_of(pixels, 0, 0), pixels)
    assert np.array_equal(view_of(pixels, 1, 0), pixels[:, :, ::-1])
    crop = view_of(pixels, 2, 0)
    assert crop.shape == pixels.shape
    assert not np.allclose(crop, pixels)
    assert np.array_equal(crop, view_of(pixels, 2, 0))
    assert not np.array_equal(crop, view_of(pixels, 2, 32))
    assert not np.array_equal(crop, view_of(pixels, 4, 0))


def test_crops_keep_most_of_the_image() -> None:
    ramp = np.broadcast_to(np.arange(100, dtype=np.float32)[None, :, None, None], (50, 100, 100, 3)).copy()
    crops = view_of(ramp, 2, 0)
    heights = crops[:, -1, 0, 0] - crops[:, 0, 0, 0]
    assert heights.min() >= 0.69 * 99
    assert crops.min() >= 0
    assert crops.max() <= 99


def test_a_cache_is_of_one_image_size(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 10, 10)).save(tmp_path / "red.png")
    images = CaptionedImages(tmp_path, ("red.png",), (("red",),))
    shapes = []
    for side in (4, 6):
        tf_keras.backend.reset_uids()
        pixels = tf_keras.Input((side, side, 3))
        model = tf_keras.Model(pixels, tf_keras.layers.Reshape((-1, 3))(pixels))  # no weights: alike but for its shapes
        cache = cached_features(model, images, tmp_path / "cache", views=1, log=lambda _: None)
        shapes.append(cache.views.shape)
    assert shapes == [(1, 1, 16, 3), (1, 1, 36, 3)]


def test_batches_come_in_order_each_image_in_its_view() -> None:
    cache = FeatureCache(np.arange(40, dtype=np.float16).reshape(2, 10, 2))
    views = np.arange(10) % 2
    plan = [np.array(images) for images in ([3, 1], [0], [9, 2, 4])]
    waits: list[str] = []

    @contextmanager
    def waiting() -> Iterator[None]:
        waits.append("waited")
        yield

    batches = list(cache.batches(plan, views, waiting))
    for batch, images in zip(batches, plan, strict=True):
        assert np.array_equal(batch, [cache.views[views[image], image] for image in images])
        assert batch.dtype == np.float32
    assert len(waits) == 3
    assert list(cache.batches([], views)) == []


def test_what_fails_in_reading_ahead_is_raised_at_its_turn() -> None:
    cache = FeatureCache(np.zeros((1, 2, 3), np.float16))
    batches = cache.batches([np.array([0]), np.array([7])], np.zeros(8, np.int64))
    assert next(batches).shape == (1, 3)
    with pytest.raises(IndexError):
        next(batches)


def test_a_batch_is_read_while_the_one_before_is_at_work() -> None:
    class Views:
        def __init__(self) -> None:
            self.second = Event()

        def __getitem__(self, key: tuple[NDArray[np.int64], NDArray[np.int64]]) -> NDArray[np.float16]:
            if key[1][0] == 1:
                self.second.set()
            return np.zeros((1, 2), np.float16)

    views, before = Views(), threading.active_count()
    batches = FeatureCache(views).batches([np.array([0]), np.array([1])], np.zeros(2, np.int64))  # type: ignore[arg-type]
    next(batches)
    assert views.second.wait(10)
    batches.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before

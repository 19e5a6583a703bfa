from pathlib import Path

import numpy as np
import tf_keras
from PIL import Image

from caption_core.training.dataset import CaptionedImages
from caption_core.training.features import cached_features, view_of


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

"""Every colour mode becomes RGB, whatever the shape of the image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from caption_core.images import colours
from caption_core.images.colours import resized


@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "I", "F", "I;16", "I;16B"],
)
@pytest.mark.parametrize("size", [(7, 5), (1, 900), (900, 1), (600, 400)])
def test_every_mode_becomes_rgb(mode: str, size: tuple[int, int]) -> None:
    result = resized(Image.new(mode, size), (30, 20))
    assert (result.mode, result.size) == ("RGB", (30, 20))


@pytest.mark.parametrize("block_samples", [1, 7, 100, 1 << 20])
def test_blocks_of_any_size_give_the_same_pixels(block_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colours, "_BLOCK_SAMPLES", block_samples)
    samples = np.linspace(-3, 7, 20 * 13, dtype=np.float32).reshape(13, 20)
    samples[5, 5] = np.inf
    grey = np.asarray(resized(Image.fromarray(samples), (20, 13)))[..., 0]
    expected = np.where(np.isfinite(samples), (samples.astype(np.float64) + 3) * 25.5, 0)
    assert np.abs(grey - expected).max() <= 1
    wide = np.arange(20 * 13, dtype=np.uint16).reshape(13, 20) * 251
    assert np.array_equal(np.asarray(resized(Image.fromarray(wide), (20, 13)))[..., 0], wide >> 8)


def test_premultiplied_alpha_lies_on_white() -> None:
    half_red = Image.new("RGBA", (4, 4), (255, 0, 0, 127))
    for image in (half_red, half_red.convert("RGBa")):
        assert resized(image, (4, 4)).getpixel((0, 0)) == (255, 128, 128)
    half_black = Image.new("LA", (4, 4), (0, 127))
    for image in (half_black, half_black.convert("La")):
        assert resized(image, (4, 4)).getpixel((0, 0)) == (128, 128, 128)

"""Every colour mode that Pillow knows, as RGB at the captioner's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Images are first reduced by an integer factor that leaves this many times the target (see Pillow's `resize`).
_REDUCING_GAP = 3.0

# Samples of more than 8 bits become bytes a block at a time: NumPy's copies of all of them at once would be several
# times as large as the image.
_BLOCK_SAMPLES = 1 << 18

_Box = tuple[int, int, int, int]  # left, top, right, bottom


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) and convert to RGB, in the order that keeps each colour mode right."""
    image = _resizable(image)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    if image.mode == "RGBa":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return _converted(image, "RGB")


def _resizable(image: Image.Image) -> Image.Image:
    """Convert to L, RGB or RGBa (premultiplied alpha), the modes that a filter may average over."""
    if image.mode.startswith("I;16"):
        return _high_bytes(image)
    if image.mode in ("I", "F"):
        return _stretched(image)
    if image.has_transparency_data:
        return _premultiplied(image)
    return _converted(image, "L" if image.mode in ("1", "L") else "RGB")


def _converted(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)  # which copies it even if nothing is to be done


def _premultiplied(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")  # the only mode it converts to
    return image if image.mode == "RGBa" else _converted(image, "RGBA").convert("RGBa")


def _high_bytes(image: Image.Image) -> Image.Image:
    grey = _in_blocks(image, lambda samples: samples >> 8)
    transparent = image.info.get("transparency")  # the one level that a PNG may declare so
    if not isinstance(transparent, int):
        return grey
    grey.putalpha(_in_blocks(image, lambda samples: np.where(samples == transparent, 0, 255)))
    return _premultiplied(grey)


def _stretched(image: Image.Image) -> Image.Image:
    """Map samples of unknown range linearly to 0..255; not-a-number and infinite ones become 0."""
    ranges = [(found.min(), found.max()) for _, block in _blocks(image) if len(found := block[np.isfinite(block)])]
    low = float(min((low for low, _ in ranges), default=0.0))
    high = float(max((high for _, high in ranges), default=0.0))
    scale = 255.0 / (high - low) if high > low else 0.0

    def to_bytes(samples: NDArray[Any]) -> NDArray[Any]:
        finite = np.isfinite(samples)
        return np.where(finite, (np.where(finite, samples, low).astype(np.float64) - low) * scale, 0.0)

    return _in_blocks(image, to_bytes)


def _in_blocks(image: Image.Image, to_bytes: Callable[[NDArray[Any]], NDArray[Any]]) -> Image.Image:
    """A grey image of what a function makes of the samples, a block at a time."""
    grey = np.empty((image.height, image.width), np.uint8)
    for (left, top, right, bottom), block in _blocks(image):
        grey[top:bottom, left:right] = to_bytes(block)
    return Image.fromarray(grey)


def _blocks(image: Image.Image) -> Iterator[tuple[_Box, NDArray[Any]]]:
    """The samples of a grey image as (box, [height, width]): some rows each, or parts of very wide ones."""
    width, height = image.size
    columns = min(width, _BLOCK_SAMPLES)
    rows = _BLOCK_SAMPLES // columns
    for top, left in product(range(0, height, rows), range(0, width, columns)):
        box = (left, top, min(left + columns, width), min(top + rows, height))
        yield box, np.asarray(image.crop(box))

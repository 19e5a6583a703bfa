"""Image files as a captioner takes them, decoded in threads while it works on others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from caption_core.errors import ImageError, UsageError
from caption_core.images import ImageLimits, decode_image


def pixel_batches(
    files: Sequence[Path], size: tuple[int, int], *, batch: int, threads: int
) -> Iterator[NDArray[np.uint8]]:
    """Decode files in order; while a batch is used, the next one is decoded, and no more than that.

    Args:
        files: images.
        size: (height, width) in pixels of the result.
        batch: images a batch; the last one may have fewer.
        threads: that decode.

    Yields:
        uint8 [batch, height, width, 3].

    Raises:
        UsageError: a file can't be read or decoded; the message names it.
    """
    with ThreadPoolExecutor(threads) as pool:
        begins = range(0, len(files), batch)
        decoding = (pool.map(lambda file: read_pixels(file, size), files[begin : begin + batch]) for begin in begins)
        current = next(decoding, None)
        while current is not None:
            pixels, current = np.stack(list(current)), next(decoding, None)
            yield pixels


def read_pixels(file: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One image, uint8 [height, width, 3].

    Raises:
        UsageError: the file can't be read or decoded; the message names it.
    """
    try:
        return decode_image(file.read_bytes(), size, ImageLimits()).pixels
    except (OSError, ImageError) as error:
        raise UsageError(f"image {file}: {error}") from error

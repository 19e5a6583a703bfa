"""Files that are cut off or damaged: an error, or by option what was decoded of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from caption_core.errors import ImageError
from caption_core.images import FORMATS, ImageLimits, decode_image
from caption_core.records import ErrorKind
from tests import image_files as made
from tests.builders import encode, gradient

SIZE = (60, 90)  # of the images themselves
STRICT, LENIENT = ImageLimits(), ImageLimits(truncated=True)
PARTIAL: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {}),
    "progressive JPEG": ("JPEG", {"progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {"interlace": False}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
}
WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "lossy WebP": ("WEBP", {}),
    "lossless WebP": ("WEBP", {"lossless": True}),
    "LZW in TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "deflate in TIFF": ("TIFF", {"compression": "tiff_adobe_deflate"}),
}


def noisy() -> Image.Image:
    """A gradient that no codec can squeeze so far that all of it stands at the beginning."""
    noise = np.random.default_rng(0).integers(0, 40, (60, 90, 3), np.uint8)
    return Image.fromarray(np.asarray(gradient()) // 2 + noise)


def sample(name: str) -> bytes:
    format_, options = (PARTIAL | WHOLE)[name]
    image = noisy().quantize(64) if format_ == "GIF" else noisy()
    return encode(image, format_, **options)


def outcome(data: bytes, limits: ImageLimits) -> NDArray[np.uint8] | ErrorKind:
    try:
        return decode_image(data, SIZE, limits).pixels
    except ImageError as error:
        return error.kind


@pytest.mark.parametrize("name", PARTIAL)
def test_what_was_decoded_counts_by_option(name: str) -> None:
    data = sample(name)
    whole = outcome(data, STRICT)
    cut = data[: len(data) * 3 // 4]
    assert outcome(cut, STRICT) is ErrorKind.CORRUPT
    part = outcome(cut, LENIENT)
    assert isinstance(part, np.ndarray)
    assert isinstance(whole, np.ndarray)
    if name == "BMP":  # whose rows begin at the bottom
        part, whole = part[::-1], whole[::-1]
    if name != "progressive JPEG":  # which becomes finer, not larger
        assert np.abs(part[:28].astype(int) - whole[:28]).mean() < 2
        assert not np.array_equal(part[-8:], whole[-8:])


@pytest.mark.parametrize("name", PARTIAL)
def test_a_sound_file_is_the_same_with_the_option(name: str) -> None:
    assert np.array_equal(outcome(sample(name), LENIENT), outcome(sample(name), STRICT))


@pytest.mark.parametrize("name", PARTIAL)
def test_a_file_cut_in_its_header_is_corrupt_with_the_option_too(name: str) -> None:
    assert outcome(sample(name)[:20], LENIENT) is ErrorKind.CORRUPT


@pytest.mark.parametrize("name", WHOLE)
def test_other_files_are_whole_or_corrupt(name: str) -> None:
    data = sample(name)
    assert isinstance(outcome(data, LENIENT), np.ndarray)
    assert outcome(data[: len(data) * 3 // 4], LENIENT) is ErrorKind.CORRUPT


@pytest.mark.parametrize(("format_", "data"), [("AVIF", made.AVIF), ("HEIF", made.HEIC)])
def test_avif_and_heic_are_whole_or_corrupt(format_: str, data: bytes) -> None:
    if format_ not in FORMATS:
        pytest.skip(f"{format_} can't be decoded here")
    assert isinstance(outcome(data, LENIENT), np.ndarray)
    for end in range(60, len(data), 50):
        assert outcome(data[:end], LENIENT) is ErrorKind.CORRUPT


def test_damaged_pixels_count_by_option() -> None:
    data = bytearray(sample("PNG"))
    data[len(data) // 2] ^= 0xFF
    assert outcome(bytes(data), STRICT) is ErrorKind.CORRUPT
    assert isinstance(outcome(bytes(data), LENIENT), np.ndarray)


def test_a_text_that_is_too_long_does_not_matter_with_the_option() -> None:
    data = made.png_with(encode(gradient()), (b"zTXt", b"Comment\0\0" + made.deflated_zeros(10_000_000)))
    assert outcome(data, STRICT) is ErrorKind.CORRUPT
    assert isinstance(outcome(data, LENIENT), np.ndarray)


def test_threads_with_different_options_do_not_meet() -> None:
    data = sample("JPEG")
    cut = data[: len(data) * 3 // 4]
    jobs = [STRICT, LENIENT] * 200
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda limits: outcome(cut, limits), jobs))
    assert all(result is ErrorKind.CORRUPT for result in outcomes[::2])
    assert all(isinstance(result, np.ndarray) for result in outcomes[1::2])

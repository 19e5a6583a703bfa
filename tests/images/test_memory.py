"""What decoding takes and keeps: a few bytes for each pixel that is allowed, and nothing afterwards."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from caption_core.errors import ImageError
from caption_core.images import FORMATS, DecodedImage, ImageLimits, decode_image
from caption_core.records import ErrorKind
from tests import image_files as made
from tests.builders import encode, gradient, write_file

ROOT = Path(__file__).resolve().parents[2]
BYTES_A_PIXEL = 20  # as promised in caption_core/images
SIDE = 2000
SLACK = 6 << 20  # of the allocator, and what libraries set up on first use

# Prints, for each file, the growth of the process' peak of resident memory while it is decoded, in bytes.
MEASURE = """
import ctypes, json, pathlib, sys
from caption_core.images import ImageLimits, decode_image

def resident(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

growth = {}
for name in sys.argv[1:]:
    data = pathlib.Path(name).read_bytes()
    for warm_up in (True, False):  # the first time, plugins and codecs are loaded
        ctypes.CDLL(None).malloc_trim(0)
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
        before = resident("VmRSS")
        decode_image(data, (224, 224), ImageLimits())
        growth[pathlib.Path(name).name] = resident("VmHWM") - before
print(json.dumps(growth))
"""


def large_images() -> dict[str, bytes]:
    """Images of `SIDE` pixels a side in the modes and formats that take most."""
    image = gradient(SIDE, SIDE)
    with_alpha = image.copy()
    with_alpha.putalpha(image.getchannel(0))
    floats = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    quick: dict[str, Any] = {"lossless": True, "quality": 0, "method": 0}
    images = {
        "progressive.jpg": encode(image.convert("CMYK"), "JPEG", progressive=True),
        "rgb.png": encode(image, compress_level=1),
        "alpha.png": encode(with_alpha, compress_level=1),
        "grey_with_alpha.png": encode(with_alpha.convert("LA"), compress_level=1),
        "16_bit.tif": encode(Image.fromarray((floats * 65_535).astype(np.uint16)), "TIFF"),
        "float.tif": encode(Image.fromarray(floats), "TIFF"),
        "float_in_one_row.tif": encode(Image.fromarray(floats.reshape(1, -1)), "TIFF"),
        "lab.tif": encode(Image.frombytes("LAB", image.size, image.tobytes()), "TIFF"),
        "lossy.webp": encode(image, "WEBP", method=0),
        "lossless_with_alpha.webp": encode(with_alpha, "WEBP", **quick),
    }
    if "AVIF" in FORMATS:
        images["alpha.avif"] = encode(with_alpha, "AVIF", speed=10, subsampling="4:4:4")
    return images


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is read from Linux' /proc")
def test_decoding_takes_at_most_what_is_promised(tmp_path: Path) -> None:
    files = [str(write_file(tmp_path / name, data)) for name, data in large_images().items()]
    done = subprocess.run([sys.executable, "-c", MEASURE, *files], cwd=ROOT, capture_output=True, text=True, check=True)
    growth: dict[str, int] = json.loads(done.stdout)
    assert len(growth) == len(files)
    greedy = {name: num / SIDE**2 for name, num in growth.items() if num > BYTES_A_PIXEL * SIDE**2 + SLACK}
    assert not greedy, f"bytes a pixel: {greedy}"
    # The measure itself works: an image of RGB takes 4 bytes a pixel.
    assert growth["rgb.png"] > 3 * SIDE**2


def kept(data: bytes, limits: ImageLimits) -> DecodedImage | ImageError:
    try:
        return decode_image(data, (8, 8), limits)
    except ImageError as error:
        return error.with_traceback(None)  # which holds this frame, and so the data


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"])
def test_neither_pixels_nor_errors_keep_the_file(format_: str) -> None:
    if format_ not in FORMATS:
        pytest.skip(f"{format_} can't be decoded here")
    sound = made.AVIF if format_ == "AVIF" else made.HEIC if format_ == "HEIF" else encode(gradient(), format_)
    for data in (sound, sound[: len(sound) // 2], b"no image" * 10):
        for limits in (ImageLimits(), ImageLimits(truncated=True), ImageLimits(max_pixels=1), ImageLimits(max_bytes=1)):
            before = sys.getrefcount(data)
            result = kept(data, limits)
            assert sys.getrefcount(data) == before, result


def test_an_error_has_no_history() -> None:
    """What it was raised from would hold the decoder's frames, with the file."""
    with pytest.raises(ImageError) as caught:
        decode_image(encode(gradient())[:100], (8, 8), ImageLimits())
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def kind_of(data: bytes) -> ErrorKind:
    with pytest.raises(ImageError) as caught:
        decode_image(data, (8, 8), ImageLimits())
    return caught.value.kind


def test_tiles_larger_than_their_image_are_refused_by_their_size() -> None:
    """A decoder unpacks a tile as a whole: 900 MB for these, from less than one of file."""
    others: dict[str, Any] = {"tile_offsets": -1, "tile_bytes": 1000, "compression": 8}
    for side, kind in ((30_000, ErrorKind.TOO_MANY_PIXELS), (64, ErrorKind.CORRUPT)):
        entries = made.tiff_entries(10, 10, tile_width=side, tile_height=side, **others)
        no_strips = [entry for entry in entries if entry[0] not in (273, 279)]
        assert kind_of(made.tiff_file(no_strips, bytes(1000))) is kind


def test_a_tiff_of_very_many_strips_is_corrupt() -> None:
    """Each would be some hundred bytes of Python objects, before a pixel is looked at."""
    places = struct.pack("<I", 8) * 300_000
    entries = made.tiff_entries(10, 10, strip_offsets=places, strip_bytes=places, rows_per_strip=1)
    with pytest.raises(ImageError, match="300,000 values"):
        decode_image(made.tiff_file(entries), (8, 8), ImageLimits())


def test_a_tiff_of_many_strips_is_fine() -> None:
    data = encode(Image.new("L", (3, 5000), 77), "TIFF", strip_size=3)
    assert decode_image(data, (8, 8), ImageLimits()).pixels.tolist() == [[[77] * 3] * 8] * 8

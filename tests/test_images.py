"""Every kind of file becomes pixels by the stated rules, or one typed error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from caption_core.errors import ImageError, UsageError
from caption_core.images import ImageLimits, decode_image
from caption_core.records import ErrorKind
from tests.builders import encode, gradient, plain, png_header, png_with_text_bomb

SIZE = (20, 30)
LIMITS = ImageLimits()
BOXED = ImageLimits(max_pixels=1000, max_bytes=10_000)
CLOSE = 3  # JPEG and filter rounding, in levels of 255


def decode(data: bytes, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return decode_image(data, size, LIMITS).pixels


def kind_of(data: bytes, limits: ImageLimits = LIMITS) -> ErrorKind:
    with pytest.raises(ImageError) as caught:
        decode_image(data, SIZE, limits)
    assert str(caught.value)
    return caught.value.kind


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def is_plain(pixels: NDArray[np.uint8], colour: tuple[int, int, int], within: int = CLOSE) -> bool:
    return difference(pixels, np.broadcast_to(np.array(colour, np.uint8), pixels.shape)) <= within


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_each_format_gives_the_same_pixels(format_: str) -> None:
    decoded = decode_image(plain((200, 100, 50), (40, 30), format_), SIZE, LIMITS)
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape == (*SIZE, 3)
    assert (decoded.width, decoded.height) == (40, 30)
    assert is_plain(decoded.pixels, (200, 100, 50))


def test_the_whole_image_is_resized_with_an_antialiased_filter() -> None:
    image = gradient(210, 160)
    expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    assert difference(decode(encode(image)), expected) <= CLOSE


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = gradient(30, 20)
    assert np.array_equal(decode(encode(image)), np.asarray(image))


def test_a_large_jpeg_looks_like_its_exact_reduction() -> None:
    image = gradient(1600, 1200)
    data = encode(image, "JPEG", quality=95)
    expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    decoded = decode_image(data, SIZE, LIMITS)
    assert difference(decoded.pixels, expected) <= 2 * CLOSE
    assert (decoded.width, decoded.height) == (1600, 1200)


UPRIGHT = {
    1: lambda image: image,
    2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_90),  # stored turned left, shown turned back
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
}


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation_is_applied(orientation: int, format_: str) -> None:
    upright = gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    data = encode(UPRIGHT[orientation](upright), format_, exif=exif, **lossless)
    decoded = decode_image(data, SIZE, LIMITS)
    assert (decoded.width, decoded.height) == upright.size
    assert difference(decoded.pixels, np.asarray(upright.resize((30, 20), Image.Resampling.BILINEAR))) <= 4 * CLOSE


def test_broken_exif_does_not_matter() -> None:
    data = encode(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 20)
    assert decode(data).shape == (*SIZE, 3)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (0, 255), (0, 0, 0)),
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (0, 0, 255, 127), (128, 128, 255)),
        ("I;16", 200 * 256 + 99, (200, 200, 200)),
    ],
)
def test_colour_modes_of_png(mode: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert is_plain(decode(encode(Image.new(mode, (40, 30), colour))), expected)


def test_a_palette_is_resolved_before_resizing() -> None:
    palette = gradient().quantize(64)
    assert difference(decode(encode(palette)), decode(encode(palette.convert("RGB")))) == 0


def test_a_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (40, 30), 0)
    image.putpalette([10, 20, 30, 200, 0, 0])
    assert is_plain(decode(encode(image, transparency=0)), (255, 255, 255))


def test_what_is_transparent_does_not_bleed_into_its_neighbours() -> None:
    image = Image.new("RGBA", (60, 40), (0, 0, 0, 0))  # transparent black
    image.paste((255, 255, 255, 255), (30, 0, 60, 40))
    assert is_plain(decode(encode(image)), (255, 255, 255))


def test_cmyk_is_converted() -> None:
    jpeg = encode(Image.new("CMYK", (40, 30), (255, 0, 0, 0)), "JPEG")
    assert is_plain(decode(jpeg), (0, 255, 255), within=6)


def test_float_samples_are_stretched_to_the_full_range() -> None:
    samples = np.linspace(-5.0, 5.0, 40 * 30, dtype=np.float32).reshape(30, 40)
    samples[0, 0] = np.nan
    pixels = decode(encode(Image.fromarray(samples), "TIFF"), (30, 40))
    assert pixels[0, 0].tolist() == [0, 0, 0]
    assert pixels[-1, -1].tolist() == [255, 255, 255]
    assert abs(int(pixels[15, 0, 0]) - 127) <= CLOSE


@pytest.mark.parametrize("value", [np.nan, 7.0])
def test_float_samples_without_a_range_are_black(value: float) -> None:
    samples = np.full((30, 40), value, np.float32)
    assert is_plain(decode(encode(Image.fromarray(samples), "TIFF")), (0, 0, 0), within=0)


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert is_plain(decode(data), (255, 0, 0))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ErrorKind.EMPTY),
        (b"plain text", ErrorKind.NOT_AN_IMAGE),
        (bytes(1000), ErrorKind.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ErrorKind.NOT_AN_IMAGE),
        (b"\xff\xd8\xff", ErrorKind.CORRUPT),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ErrorKind.CORRUPT),
        (b"BM" + bytes(range(200)), ErrorKind.CORRUPT),
        (encode(gradient())[:-200], ErrorKind.CORRUPT),
        (encode(gradient(), "JPEG")[:-200], ErrorKind.CORRUPT),
        (png_header(100, 100), ErrorKind.CORRUPT),
        (png_header(50_000, 50_000), ErrorKind.TOO_MANY_PIXELS),
        (png_with_text_bomb(100_000_000), ErrorKind.CORRUPT),
    ],
)
def test_each_way_to_fail_has_its_kind(data: bytes, kind: ErrorKind) -> None:
    assert kind_of(data) is kind


def test_the_caps_are_exact() -> None:
    assert decode_image(plain(size=(40, 25)), SIZE, BOXED).width == 40
    assert kind_of(plain(size=(40, 26)), BOXED) is ErrorKind.TOO_MANY_PIXELS
    data = plain(size=(10, 10))
    assert decode_image(data, SIZE, ImageLimits(max_bytes=len(data))).width == 10
    assert kind_of(data, ImageLimits(max_bytes=len(data) - 1)) is ErrorKind.TOO_MANY_BYTES


def test_the_cap_may_be_above_pillows_own() -> None:
    wide = encode(Image.new("1", (20_000, 10_000)))  # 200 million pixels; Pillow refuses from 179 million on
    assert kind_of(wide) is ErrorKind.TOO_MANY_PIXELS
    assert decode_image(wide, SIZE, ImageLimits(max_pixels=200_000_000)).width == 20_000


@pytest.mark.parametrize("limits", [{"max_pixels": 0}, {"max_bytes": 0}])
def test_caps_must_be_positive(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        ImageLimits(**limits)


SAMPLES = [
    encode(gradient(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    encode(gradient(), "JPEG", progressive=True),
    encode(gradient()),
    encode(gradient(), "WEBP"),
    encode(gradient().quantize(16), "GIF"),
    encode(gradient(), "BMP"),
    encode(gradient(), "TIFF"),
    encode(gradient(), "TIFF", compression="tiff_lzw"),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damage_anywhere_gives_pixels_or_a_typed_error(sample: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(sample)))
    damaged = bytearray(sample[:cut])
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, max(cut - 1, 0)), st.integers(0, 255)))):
        if damaged:
            damaged[position] = value
    outcome = decode_or_kind(bytes(damaged))
    allowed = (ErrorKind.EMPTY, ErrorKind.NOT_AN_IMAGE, ErrorKind.CORRUPT, ErrorKind.TOO_MANY_PIXELS)
    assert outcome == (*SIZE, 3) or outcome in allowed


def decode_or_kind(data: bytes) -> tuple[int, ...] | ErrorKind:
    try:
        return decode_image(data, SIZE, ImageLimits(max_pixels=1 << 20)).pixels.shape
    except ImageError as error:
        return error.kind

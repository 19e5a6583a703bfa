"""Every kind of file becomes pixels by the stated rules, or one typed error."""

from __future__ import annotations

import io
import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from caption_core.errors import ImageError, UsageError
from caption_core.images import FORMATS, ImageLimits, colours, decode_image, decoding
from caption_core.records import ErrorKind
from tests import image_files as made
from tests.builders import encode, gradient, plain, png_header, png_with_text_bomb
from tests.hostile_corpus import broken_exif_blocks

SIZE = (20, 30)
LIMITS = ImageLimits()
BOXED = ImageLimits(max_pixels=1000, max_bytes=10_000)
CLOSE = 3  # JPEG and filter rounding, in levels of 255


needs_avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="this Pillow is built without AVIF")
needs_heif = pytest.mark.skipif("HEIF" not in FORMATS, reason="pillow-heif is not installed")


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


@pytest.mark.parametrize(
    "data", [pytest.param(made.AVIF, marks=needs_avif), pytest.param(made.HEIC, marks=needs_heif)], ids=["AVIF", "HEIC"]
)
def test_avif_and_heic_are_decoded_where_there_are_decoders(data: bytes) -> None:
    decoded = decode_image(data, (32, 48), LIMITS)
    assert (decoded.width, decoded.height) == (48, 32)
    assert difference(decoded.pixels, np.asarray(gradient(48, 32))) <= 40  # they are small, and coded coarsely
    assert np.abs(decoded.pixels.astype(int) - np.asarray(gradient(48, 32))).mean() < 6


@pytest.mark.parametrize(("data", "message"), [(made.AVIF, "built with it"), (made.HEIC, "pillow-heif")])
def test_what_is_missing_is_named(data: bytes, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "FORMATS", FORMATS[:6])
    with pytest.raises(ImageError, match=message) as caught:
        decode_image(data, SIZE, LIMITS)
    assert caught.value.kind is ErrorKind.NOT_AN_IMAGE


def test_the_whole_image_is_resized_with_an_antialiased_filter() -> None:
    image = gradient(210, 160)
    expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    assert difference(decode(encode(image)), expected) <= CLOSE


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = gradient(30, 20)
    assert np.array_equal(decode(encode(image)), np.asarray(image))


@pytest.mark.parametrize(
    ("sides", "decoded_sides"), [((1600, 1200), (200, 150)), ((119, 119), (119, 119)), ((120, 121), (60, 61))]
)
def test_a_jpeg_is_decoded_at_twice_its_target_at_least(sides: tuple[int, int], decoded_sides: tuple[int, int]) -> None:
    image = gradient(*sides)
    data = encode(image, "JPEG", quality=95)
    decoded = decode_image(data, SIZE, LIMITS)
    expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
    assert difference(decoded.pixels, expected) <= 2 * CLOSE
    assert (decoded.width, decoded.height) == sides

    drafted = Image.open(io.BytesIO(data))
    drafted.draft("RGB", (60, 60))  # in both directions, for orientation may swap them
    assert drafted.size == decoded_sides
    assert np.array_equal(decoded.pixels, np.asarray(colours.resized(drafted, (30, 20))))


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


@needs_avif
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_of_an_avif_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(UPRIGHT[orientation](gradient()), "AVIF", exif=exif, quality=90)
    check_upright(data)


@needs_heif
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_the_orientation_of_a_heic_is_applied(orientation: int) -> None:
    image = UPRIGHT[orientation](gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()  # from there its encoder takes it, and stores it outside EXIF
    check_upright(encode(image, "HEIF", quality=90))


def check_upright(data: bytes) -> None:
    upright = gradient()
    decoded = decode_image(data, SIZE, LIMITS)
    assert (decoded.width, decoded.height) == upright.size
    assert difference(decoded.pixels, np.asarray(upright.resize((30, 20), Image.Resampling.BILINEAR))) <= 8 * CLOSE


def test_an_orientation_in_xmp_counts_where_exif_has_none() -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    chunk = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    assert decode_image(made.png_with(encode(gradient()), chunk), SIZE, LIMITS).width == 60
    both = made.png_with(encode(gradient()), chunk, (b"eXIf", made.exif_orientation(3)[6:]))
    assert decode_image(both, SIZE, LIMITS).width == 90


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_an_orientation_that_is_none_does_not_matter(value: int) -> None:
    data = encode(gradient(), "JPEG", exif=made.exif_orientation(value))
    assert np.array_equal(decode(data), decode(encode(gradient(), "JPEG")))


@pytest.mark.parametrize("name", broken_exif_blocks())
def test_no_broken_exif_matters(name: str) -> None:
    block = broken_exif_blocks()[name]
    for format_ in ("JPEG", "PNG", "WEBP"):
        assert decode_image(with_exif(format_, block), SIZE, LIMITS).width in (60, 90)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP"])
def test_a_tag_of_many_values_is_not_unpacked(format_: str) -> None:
    many = made.exif_block((274, 5, 300_000, bytes(8 * 300_000)))  # each would become a fraction, an object of its own
    data = with_exif(format_, many)
    tracemalloc.start()
    try:
        assert decode(data).shape == (*SIZE, 3)
        assert tracemalloc.get_traced_memory()[1] < 10 * len(many)
    finally:
        tracemalloc.stop()


def with_exif(format_: str, block: bytes) -> bytes:
    image = gradient()
    if format_ == "PNG":
        return made.png_with(encode(image), (b"eXIf", block[6:]))
    if format_ == "WEBP":
        return encode(image, "WEBP", exif=block)
    data = encode(image, "JPEG")
    for at in reversed(range(6, len(block), 60_000)):  # over several segments
        data = made.jpeg_with_segment(data, 0xE1, b"Exif\0\0" + block[at : at + 60_000])
    return data


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


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 90, (90, 90, 90)),
        ("LA", (0, 0), (255, 255, 255)),
        ("RGBA", (0, 0, 255, 127), (128, 128, 255)),
        ("I;16", 200 * 256 + 99, (200, 200, 200)),
        ("I;16B", 200 * 256 + 99, (200, 200, 200)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 155), (100, 100, 100)),
        ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("LAB", (255, 128, 128), (255, 255, 255)),
        ("LAB", (0, 128, 128), (0, 0, 0)),
    ],
)
def test_colour_modes_of_tiff(mode: str, colour: int | tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert is_plain(decode(encode(Image.new(mode, (40, 30), colour), "TIFF", compression="tiff_lzw")), expected)


@pytest.mark.parametrize(("photometric", "expected"), [(0, (55, 55, 55)), (1, (200, 200, 200))])
def test_grey_in_a_tiff_may_be_inverted(photometric: int, expected: tuple[int, int, int]) -> None:
    entries = made.tiff_entries(40, 30, photometric=photometric)
    assert is_plain(decode(made.tiff_file(entries, bytes([200]) * 1200)), expected)


def test_16_bit_colour_keeps_its_high_bytes() -> None:
    pixel = bytes((10, 99, 20, 99, 30, 99))
    png = made.png_file(made.png_image_header(4, 3, bits=16), made.png_rows(pixel * 12, 4 * len(pixel)))
    assert is_plain(decode(png), (10, 20, 30))


def test_a_16_bit_grey_level_may_be_transparent() -> None:
    header = made.png_image_header(4, 3, bits=16, colour=0)
    for level, expected in ((b"\x10\x20", (255, 255, 255)), (b"\x10\x21", (16, 16, 16))):
        png = made.png_file(header, (b"tRNS", level), made.png_rows(b"\x10\x20" * 12, 8))
        assert is_plain(decode(png), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_colour_may_be_transparent(mode: str) -> None:
    image = Image.new(mode, (40, 30), 50 if mode == "L" else (50, 60, 70))
    transparency = 50 if mode == "L" else (50, 60, 70)
    assert is_plain(decode(encode(image, transparency=transparency)), (255, 255, 255))


def test_a_palette_may_have_alphas() -> None:
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert is_plain(decode(encode(image, transparency=b"\0\x7f")), (228, 128, 128))


def test_a_transparent_colour_of_a_gif_is_white() -> None:
    image = Image.new("P", (40, 30), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    assert is_plain(decode(encode(image, "GIF", transparency=1)), (255, 255, 255))


def test_alpha_of_a_webp_lies_on_white() -> None:
    data = encode(Image.new("RGBA", (40, 30), (255, 0, 0, 127)), "WEBP", lossless=True)
    assert is_plain(decode(data), (255, 128, 128))


@pytest.mark.parametrize(
    ("ink", "expected"),
    [((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 255, 0), (255, 255, 0)), ((0, 0, 0, 155), (100, 100, 100))],
)
def test_cmyk_of_a_jpeg_is_converted(ink: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    jpeg = encode(Image.new("CMYK", (40, 30), ink), "JPEG")
    assert b"Adobe" in jpeg  # and so it is inverted
    assert is_plain(decode(jpeg), expected, within=6)


def test_ycck_of_a_jpeg_is_converted() -> None:
    grey = (255 - 100) * 50 // 255  # stored is the light that passes the inks; black dims what the others let through
    assert is_plain(decode(made.ycck_jpeg(100, 128, 128, 50)), (grey, grey, grey), within=2)


def test_signed_16_bit_samples_are_stretched() -> None:
    entries = made.tiff_entries(3, 1, bits=16, sample_format=2, strip_bytes=6)
    pixels = decode(made.tiff_file(entries, struct.pack("<3h", -300, 0, 300)), (1, 3))
    assert pixels[0, :, 0].tolist() == [0, 127, 255]


def test_32_bit_samples_are_stretched() -> None:
    samples = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    assert decode(encode(Image.fromarray(samples), "TIFF"), (1, 3))[0, :, 0].tolist() == [0, 127, 255]


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


@pytest.mark.parametrize("format_", ["GIF", "PNG", "WEBP", "TIFF", "MPO", pytest.param("AVIF", marks=needs_avif)])
def test_the_first_frame_of_several_counts(format_: str) -> None:
    red, blue = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    data = encode(red, format_, save_all=True, append_images=[blue])
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.n_frames == 2  # type: ignore[attr-defined]
    assert is_plain(decode(data), (255, 0, 0), within=6)


def test_the_primary_image_of_a_heic_counts() -> None:
    if "HEIF" not in FORMATS:
        pytest.skip("pillow-heif is not installed")
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    assert is_plain(decode(encode(red, "HEIF", save_all=True, append_images=[blue], primary_index=1)), (0, 0, 255), 6)


def test_a_broken_index_of_further_pictures_does_not_matter() -> None:
    data = encode(gradient(), "MPO", save_all=True, append_images=[gradient()])
    index = data.index(b"MPF\0")
    for at in range(index + 4, index + 60):
        damaged = data[:at] + b"\xff" + data[at + 1 :]
        assert np.array_equal(decode(damaged), decode(data))


def test_a_picture_with_further_ones_is_decoded_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_sizes = []

    def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
        decoded_sizes.append(image.size)
        return image.resize(size)

    monkeypatch.setattr(decoding, "resized", resized)
    large = gradient(1600, 1200)
    for data in (encode(large, "JPEG"), encode(large, "MPO", save_all=True, append_images=[large])):
        assert decode_image(data, SIZE, LIMITS).width == 1600
    assert decoded_sizes == [(200, 150), (200, 150)]


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
        (made.webp_claiming(50_000, 50_000), ErrorKind.TOO_MANY_PIXELS),
        (made.gif_claiming((4, 4), (50_000, 50_000)), ErrorKind.TOO_MANY_PIXELS),
        pytest.param(made.with_claimed_size(made.AVIF, 50_000, 50_000), ErrorKind.TOO_MANY_PIXELS, marks=needs_avif),
        pytest.param(made.with_claimed_size(made.HEIC, 50_000, 50_000), ErrorKind.TOO_MANY_PIXELS, marks=needs_heif),
        pytest.param(made.AVIF[:200], ErrorKind.CORRUPT, marks=needs_avif),
        pytest.param(made.HEIC[:200], ErrorKind.CORRUPT, marks=needs_heif),
        (b"\0\0\0\x18ftypisom" + bytes(100), ErrorKind.NOT_AN_IMAGE),
        (encode(gradient(32, 32), "ICO"), ErrorKind.NOT_AN_IMAGE),
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
def test_caps_must_be_positive(limits: dict[str, Any]) -> None:
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

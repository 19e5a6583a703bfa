"""A format is told by the first bytes, and a size before any decoder sees the file."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from caption_core.images.headers import claimed_size, format_of
from tests import image_files as made
from tests.builders import encode, gradient


def media(major: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + major + bytes(4) + brands + bytes(100)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_pillow_writes_is_recognised(format_: str) -> None:
    assert format_of(encode(gradient(), format_)) == format_


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (made.AVIF, "AVIF"),
        (made.HEIC, "HEIF"),
        (media(b"avis"), "AVIF"),
        (media(b"mif1", b"mif1", b"avif"), "AVIF"),
        (media(b"mif1", b"mif1", b"heic"), "HEIF"),
        (media(b"msf1", b"hevc"), "HEIF"),
        (media(b"mif1"), "HEIF"),
        (media(b"heix", b"mif1"), "HEIF"),
        (media(b"isom", b"mp42"), None),
        (media(b"isom", b"avif"), None),
        (media(b"qt  "), None),
        (media(b"crx "), None),  # a camera's raw file
        (b"RIFF\x10\0\0\0WAVE", None),
        (b"\0\0\0\x18ftyp", None),
        (b"\x89PNG\r\n\x1a", None),
        (b"", None),
    ],
)
def test_containers_are_told_apart(data: bytes, format_: str | None) -> None:
    assert format_of(data) == format_


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_every_kind_of_tiff_is_recognised(order: str, big: bool) -> None:
    assert format_of(made.tiff_file(made.tiff_entries(4, 4, order), bytes(16), order, big=big)) == "TIFF"


WITH_ALPHA = Image.new("RGBA", (300, 200), (1, 2, 3, 4))


@pytest.mark.parametrize(
    "data",
    [
        encode(gradient(300, 200), "WEBP"),
        encode(gradient(300, 200), "WEBP", lossless=True),
        encode(WITH_ALPHA, "WEBP"),
        encode(gradient(300, 200), "WEBP", save_all=True, append_images=[gradient(300, 200).rotate(90)]),
        made.webp_claiming(300, 200),
        made.lossy_webp_claiming(300, 200),
        made.lossless_webp_claiming(300, 200),
    ],
)
def test_the_size_of_a_webp(data: bytes) -> None:
    assert claimed_size(data, "WEBP") == (300, 200)


def test_the_size_of_an_avif_and_of_a_heic() -> None:
    assert claimed_size(made.AVIF, "AVIF") == (48, 32)
    assert claimed_size(made.HEIC, "HEIF") == (64, 64)  # as coded; shown are 48 x 32 of it
    assert claimed_size(made.with_claimed_size(made.AVIF, 50_000, 40_000), "AVIF") == (50_000, 40_000)


def test_boxes_with_long_or_open_lengths_are_entered() -> None:
    at = made.AVIF.index(b"meta") - 4
    length = struct.unpack(">I", made.AVIF[at : at + 4])[0]
    contents = made.AVIF[at + 8 : at + length]
    long_length = struct.pack(">I", 1) + b"meta" + struct.pack(">Q", length + 8) + contents
    up_to_the_end = struct.pack(">I", 0) + b"meta" + contents
    for box in (long_length, up_to_the_end):
        assert claimed_size(made.AVIF[:at] + box, "AVIF") == (48, 32)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_other_formats_are_left_to_their_decoders(format_: str) -> None:
    assert claimed_size(encode(gradient(), format_), format_) is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([made.AVIF, made.HEIC, made.webp_claiming(9, 9), made.lossless_webp_claiming(9, 9)]), st.data())
def test_no_damage_upsets_it(sample: bytes, data: st.DataObject) -> None:
    damaged = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(sample)), st.integers(0, 255)))):
        if position < len(damaged):
            damaged[position] = value
    format_ = format_of(bytes(damaged))
    size = claimed_size(bytes(damaged), format_) if format_ else None
    assert size is None or min(size) >= 0

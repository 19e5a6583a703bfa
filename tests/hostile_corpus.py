"""Some hundred files that break naive programs, and how each of them must end.

Everything is made here, the same each time. A file's folder names what is hostile about it.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from caption_core.archive.sources.file_names import name_to_text
from caption_core.images import FORMATS, ImageLimits
from tests import image_files as made
from tests.builders import encode, gradient, plain, png_header, write_file

Kinds = frozenset[str]

OK: Kinds = frozenset(("ok",))
CORRUPT: Kinds = frozenset(("corrupt",))
NOT_AN_IMAGE: Kinds = frozenset(("not_an_image",))
TOO_MANY_PIXELS: Kinds = frozenset(("too_many_pixels",))
SOUND_OR_CORRUPT = OK | CORRUPT
# What a flipped bit in a header may do: nothing, damage, or another size.
ANY_DAMAGE = SOUND_OR_CORRUPT | TOO_MANY_PIXELS

_HUGE = 50_000  # pixels a side


@dataclass(frozen=True)
class HostileFile:
    """A file of the corpus.

    Attributes:
        name: its path below the corpus' folder.
        data: its contents.
        kinds: the error kinds that it may end with, or `ok`; one of them, wherever the format leaves no doubt.
    """

    name: str
    data: bytes
    kinds: Kinds


@dataclass(frozen=True)
class Sample:
    """A sound image, to be damaged.

    Attributes:
        name: of the sample, with the format's usual extension.
        data: the file.
        format_: by its name in Pillow.
        signature: bytes at its beginning without which it is no image at all.
        num_decisive: bytes from the beginning that hold the first picture's last pixel, perhaps with some more.
        num_enough: bytes that are certainly enough to decode it; all, where the decoder insists on all.
        num_raw: bytes at its end that are pixels as they stand.
    """

    name: str
    data: bytes
    format_: str
    signature: int
    num_decisive: int
    num_enough: int
    num_raw: int = 0


def write_hostile_corpus(folder: Path, outside: Path, limits: ImageLimits | None = None) -> dict[str, Kinds]:
    """Write the corpus.

    Args:
        folder: the input, or a folder in it; made if missing.
        outside: a file that is not in the input, for links to lead to; written.
        limits: that will be in force, without leniency for truncated files. At least 4 MiB must be allowed.

    Returns:
        For each image below `folder`, by image id, the error kinds that it may end with, or `ok`. Nothing else may be
        listed.
    """
    limits = limits or ImageLimits()
    kinds = {}
    for file in [*_damaged_files(), *_odd_files(limits)]:
        write_file(folder / file.name, file.data)
        kinds[file.name] = file.kinds
    kinds |= _write_odd_names(folder) | _write_special_files(folder / "files", outside)
    kinds |= _write_sizes(folder / "bytes", limits.max_bytes)
    _write_what_is_no_input(folder)
    return kinds


def kind_counts(outcomes: dict[str, str]) -> dict[str, dict[str, int]]:
    """How many files of each folder ended how."""
    counts: dict[str, dict[str, int]] = {}
    for name, outcome in outcomes.items():
        of_folder = counts.setdefault(name.split("/")[0], {})
        of_folder[outcome] = of_folder.get(outcome, 0) + 1
    return counts


def _damaged_files() -> Iterator[HostileFile]:
    samples = make_samples()
    for sample in samples:
        yield from _cut_off(sample)
        yield from _flipped(sample)
    yield from _wrongly_named(samples)


def make_samples() -> list[Sample]:
    """One sound image of each format and way to compress it."""
    image = gradient(40, 30)
    num_pixel_bytes = len(image.tobytes())
    palette = image.quantize(16)
    next_frame: dict[str, Any] = {"save_all": True, "append_images": [image.rotate(90)]}
    gif, moving_gif = encode(palette, "GIF"), encode(palette, "GIF", duration=100, **next_frame)
    # A PNG is sound without its end, a GIF without its trailer. Of their pixels' last bytes, checksums and terminators,
    # decoders may do without some.
    png, moving_png = encode(image), encode(image, **next_frame)
    first_frame_of_png = moving_png.index(b"fcTL", moving_png.index(b"IDAT")) - 4
    first_frame_of_gif = moving_gif.rindex(b"!\xf9\x04")
    return [
        _sample("baseline.jpg", encode(image, "JPEG"), "JPEG", 3),
        _sample("progressive.jpg", encode(image, "JPEG", progressive=True), "JPEG", 3),
        _sample("rgb.png", png, "PNG", 8, len(png) - 12 - 12, len(png) - 12),
        _sample("moving.png", moving_png, "PNG", 8, first_frame_of_png - 12, first_frame_of_png),
        _sample("lossy.webp", encode(image, "WEBP"), "WEBP", 12),
        _sample("lossless.webp", encode(image, "WEBP", lossless=True), "WEBP", 12),
        _sample("moving.webp", encode(image, "WEBP", **next_frame), "WEBP", 12),
        _sample("still.gif", gif, "GIF", 6, len(gif) - 4, len(gif) - 1),
        _sample("moving.gif", moving_gif, "GIF", 6, first_frame_of_gif - 3, first_frame_of_gif),
        _sample("rgb.bmp", encode(image, "BMP"), "BMP", 2, num_raw=num_pixel_bytes),
        _sample("raw.tif", encode(image, "TIFF"), "TIFF", 4, num_raw=num_pixel_bytes),
        _sample("lzw.tif", encode(image, "TIFF", compression="tiff_lzw"), "TIFF", 4),
        _sample("deflate.tiff", encode(image, "TIFF", compression="tiff_adobe_deflate"), "TIFF", 4),
        _sample("jpeg.tiff", encode(image, "TIFF", compression="jpeg"), "TIFF", 4),
        _sample("still.avif", made.AVIF, "AVIF", 12),
        _sample("still.heic", made.HEIC, "HEIF", 12),
    ]


def _sample(
    name: str,
    data: bytes,
    format_: str,
    signature: int,
    num_decisive: int | None = None,
    num_enough: int | None = None,
    num_raw: int = 0,
) -> Sample:
    return Sample(name, data, format_, signature, num_decisive or len(data), num_enough or len(data), num_raw)


def _where_decodable(format_: str, kinds: Kinds) -> Kinds:
    return kinds if format_ in FORMATS else NOT_AN_IMAGE


def _cut_off(sample: Sample) -> Iterator[HostileFile]:
    ends = {1, sample.signature - 1, sample.signature, sample.num_decisive - 1, sample.num_enough, len(sample.data) - 1}
    ends |= {len(sample.data) * part // 5 for part in range(1, 5)}
    for end in sorted(ends & set(range(1, len(sample.data)))):
        yield HostileFile(f"cut/{end}_{sample.name}", sample.data[:end], _kinds_of_cut(sample, end))


def _kinds_of_cut(sample: Sample, end: int) -> Kinds:
    if end < sample.signature:
        return NOT_AN_IMAGE
    if end >= sample.num_enough:
        return _where_decodable(sample.format_, OK)
    return _where_decodable(sample.format_, CORRUPT if end < sample.num_decisive else SOUND_OR_CORRUPT)


def _flipped(sample: Sample) -> Iterator[HostileFile]:
    last = len(sample.data) - 1
    for at in sorted({0, sample.signature - 1, 16, *(last * part // 5 for part in range(1, 6))}):
        data = bytearray(sample.data)
        data[at] ^= 0xFF
        kinds = _kinds_of_flip(sample, at)
        yield HostileFile(f"flipped/{at}_{sample.name}", bytes(data), kinds)


def _kinds_of_flip(sample: Sample, at: int) -> Kinds:
    if at in _LENGTH_BYTES.get(sample.format_, ()):
        return _where_decodable(sample.format_, SOUND_OR_CORRUPT)
    if at < sample.signature:
        return NOT_AN_IMAGE
    if at >= len(sample.data) - sample.num_raw:
        return OK
    if sample.format_ == "PNG" and at < _END_OF_PNG_HEADER:
        return CORRUPT  # its checksum is wrong
    return _where_decodable(sample.format_, ANY_DAMAGE)


# Bytes within what is otherwise a signature.
_LENGTH_BYTES = {"WEBP": range(4, 8), "AVIF": range(4), "HEIF": range(4)}
_END_OF_PNG_HEADER = 33


def _wrongly_named(samples: list[Sample]) -> Iterator[HostileFile]:
    firsts = {sample.format_: sample for sample in reversed(samples)}
    usual = {sample.name.rsplit(".", 1)[1] for sample in samples}
    for format_, sample in firsts.items():
        for extension in sorted(usual - {sample.name.rsplit(".", 1)[1]}):
            kinds = _where_decodable(format_, OK)
            yield HostileFile(f"extension/really_{format_.lower()}.{extension}", sample.data, kinds)


def _odd_files(limits: ImageLimits) -> Iterator[HostileFile]:
    for folder, files in (
        ("contents", _no_images()),
        ("claims", _false_claims()),
        ("bombs", _bombs(limits)),
        ("exif", _broken_exif()),
        ("colours", _colours()),
        ("frames", _several_frames()),
    ):
        for name, data, kinds in files:
            yield HostileFile(f"{folder}/{name}", data, kinds)


_File = tuple[str, bytes, Kinds]


def _no_images() -> Iterator[_File]:
    yield "nothing.jpg", b"", frozenset(("empty",))
    noise = np.random.default_rng(0).bytes(4096)
    contents = {
        "one_byte.png": b"\xff",
        "zeros.tif": bytes(5000),
        "noise.jpg": b"\0" + noise,
        "text.jpg": b"Ceci n'est pas une image.\n",
        "utf_16.bmp": "Nothing to see".encode("utf-16"),
        "page.gif": b"<!DOCTYPE html><html><title>404</title></html>",
        "redirect.png": b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n",
        "drawing.png": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><rect/></svg>',
        "document.jpeg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
        "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
        "program.webp": b"\x7fELF\x02\x01\x01" + bytes(57),
        "script.gif": b"#!/bin/sh\nrm -rf /\n",
        "pointer.jpg": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 1\n",
        "film.avif": struct.pack(">I", 24) + b"ftypisom" + bytes(4) + b"isommp42" + bytes(100),
        "film.heic": struct.pack(">I", 20) + b"ftypqt  " + bytes(4) + b"qt  " + bytes(100),
        "sound.webp": b"RIFF" + struct.pack("<I", 100) + b"WAVEfmt " + bytes(100),
        "packed.gif": gzip.compress(plain(), mtime=0),
        "zip.webp": _zipped("image.png", plain()),
        "tar.tiff": _tarred("image.png", plain()),
        "icon.png": encode(gradient(32, 32), "ICO"),
        "portable.bmp": encode(gradient(), "PPM"),
        "jpeg_2000.jpg": encode(gradient(), "JPEG2000"),
        "behind_a_space.png": b" " + plain(),
    }
    for name, data in contents.items():
        yield name, data, NOT_AN_IMAGE
    for signature, name in ((b"\xff\xd8\xff", "jpg"), (made.PNG_SIGNATURE, "png"), (b"GIF89a", "gif"), (b"BM", "bmp")):
        yield f"{name}_signature_and_noise.{name}", signature + noise, CORRUPT
    yield "tif_signature_and_noise.tif", b"II*\0" + noise, CORRUPT
    yield "webp_signature_and_noise.webp", b"RIFF\0\x10\0\0WEBP" + noise, CORRUPT
    for media, name, format_ in ((made.AVIF, "avif", "AVIF"), (made.HEIC, "heic", "HEIF")):
        yield f"{name}_signature_and_noise.{name}", media[:32] + noise, _where_decodable(format_, CORRUPT)


def _zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _tarred(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _false_claims() -> Iterator[_File]:
    """Headers that promise more pixels than there are, or tiles larger than the image."""
    jpeg, progressive = encode(gradient(), "JPEG"), encode(gradient(), "JPEG", progressive=True)
    entries = made.tiff_entries(_HUGE, _HUGE)
    claims = {
        "baseline.jpg": made.jpeg_with_size(jpeg, _HUGE, _HUGE),
        "progressive.jpg": made.jpeg_with_size(progressive, _HUGE, _HUGE),
        "rgb.png": png_header(_HUGE, _HUGE),
        "signed.png": png_header(0x7FFF_FFFF, 0x7FFF_FFFF),
        "extended.webp": made.webp_claiming(_HUGE, _HUGE),
        "lossy.webp": made.lossy_webp_claiming(16_383, 16_383),
        "lossless.webp": made.lossless_webp_claiming(16_384, 16_384),
        "screen.gif": made.gif_claiming((_HUGE, _HUGE), (4, 4)),
        "frame_beyond_its_screen.gif": made.gif_claiming((4, 4), (_HUGE, _HUGE)),
        "bottom_up.bmp": made.bmp_claiming(_HUGE, _HUGE),
        "top_down.bmp": made.bmp_claiming(_HUGE, -_HUGE),
        "little_endian.tif": made.tiff_file(entries, bytes(100)),
        "big_endian.tif": made.tiff_file(made.tiff_entries(_HUGE, _HUGE, ">"), bytes(100), ">"),
        "big.tiff": made.tiff_file(entries, bytes(100), big=True),
        "one_row.tif": made.tiff_file(made.tiff_entries(0x7FFF_FFFF, 1), bytes(100)),
        "tile.tif": made.tiff_file(_tiled(30_000), made.deflated_zeros(100_000)),
    }
    for name, data in claims.items():
        yield name, data, TOO_MANY_PIXELS
    for name, media, format_ in (("still.avif", made.AVIF, "AVIF"), ("still.heic", made.HEIC, "HEIF")):
        yield name, made.with_claimed_size(media, _HUGE, _HUGE), _where_decodable(format_, TOO_MANY_PIXELS)
    yield "frame_a_little_larger_than_its_screen.gif", made.gif_claiming((2, 2), (4, 4)), OK
    yield "nothing.png", made.png_file(made.png_image_header(0, 5)), CORRUPT
    yield "nothing.bmp", made.bmp_claiming(0, 5), CORRUPT
    yield "nothing.tif", made.tiff_file(made.tiff_entries(0, 5), bytes(100)), CORRUPT
    yield "more_strips_than_there_are.tif", made.tiff_file(_striped(20), bytes(100)), CORRUPT
    yield "more_bytes_than_there_are.tif", made.tiff_file(_with_strip_bytes(0x7FFF_FFFF), bytes(10)), CORRUPT
    yield "other_numbers_than_promised.tif", made.tiff_file(_with_many_values(0xFFFF_FFF0), bytes(100)), CORRUPT


def _tiled(side: int) -> list[made.TiffEntry]:
    tiles: dict[str, Any] = {
        "tile_width": side,
        "tile_height": side,
        "tile_offsets": -1,
        "tile_bytes": 100_000,
        "compression": 8,
    }
    strips = (made.TIFF_TAGS["strip_offsets"], made.TIFF_TAGS["strip_bytes"])
    return [entry for entry in made.tiff_entries(10, 10, **tiles) if entry[0] not in strips]


def _striped(number: int) -> list[made.TiffEntry]:
    """Ten rows in more strips than rows, all of them beyond the end."""
    offsets, counts = (struct.pack("<I", value) * number for value in (0x7FFF_0000, 10))
    return made.tiff_entries(10, 10, strip_offsets=offsets, strip_bytes=counts, rows_per_strip=1)


def _with_strip_bytes(number: int) -> list[made.TiffEntry]:
    return made.tiff_entries(10, 10, strip_bytes=number)


def _with_many_values(number: int) -> list[made.TiffEntry]:
    offsets = made.TIFF_TAGS["strip_offsets"]
    others = [entry for entry in made.tiff_entries(10, 10) if entry[0] != offsets]
    return [*others, (offsets, 4, number, bytes(8))]


def _bombs(limits: ImageLimits) -> Iterator[_File]:
    """Files that grow a thousandfold."""
    zeros = made.deflated_zeros(100_000_000)
    million = made.deflated_zeros(1_000_000)
    image = plain()
    yield "flat.png", made.flat_png(isqrt(limits.max_pixels)), OK
    yield "one_row_too_many.png", made.flat_png(isqrt(limits.max_pixels) + 1), TOO_MANY_PIXELS
    yield "pixels.png", made.png_file(made.png_image_header(100, 100), (b"IDAT", zeros)), OK
    yield "text.png", made.png_with(image, (b"zTXt", b"Comment\0\0" + zeros)), CORRUPT
    yield "international_text.png", made.png_with(image, (b"iTXt", b"Comment\0\1\0\0\0" + zeros)), CORRUPT
    yield "profile.png", made.png_with(image, (b"iCCP", b"sRGB\0\0" + zeros)), CORRUPT
    texts = [(b"zTXt", b"%d\0\0" % number + million) for number in range(80)]
    yield "many_texts.png", made.png_with(image, *texts), CORRUPT
    strip = made.tiff_entries(10, 10, compression=8, strip_bytes=len(zeros))
    yield "strip.tif", made.tiff_file(strip, zeros), OK
    counts = struct.pack("<I", 1) * 300_000
    strips = made.tiff_entries(10, 10, strip_offsets=counts, strip_bytes=counts, rows_per_strip=1)
    yield "strips.tif", made.tiff_file(strips), CORRUPT
    fractions = made.exif_block((274, 5, 300_000, bytes(8 * 300_000)))
    yield "exif.png", made.png_with(image, (b"eXIf", fractions[6:])), OK
    jpeg = encode(gradient(), "JPEG")
    for _ in range(40):
        jpeg = made.jpeg_with_segment(jpeg, 0xE1, b"Exif\0\0" + bytes(60_000))
    yield "segments.jpg", jpeg, OK


def _broken_exif() -> Iterator[_File]:
    image = gradient()
    for value in range(10):
        yield f"orientation_{value}.jpg", encode(image, "JPEG", exif=made.exif_orientation(value)), OK
    jpeg = encode(image, "JPEG")
    for name, block in broken_exif_blocks().items():
        yield f"{name}.jpg", made.jpeg_with_segment(jpeg, 0xE1, block), OK
        yield f"{name}.png", made.png_with(plain(), (b"eXIf", block[6:])), OK
    wrong_checksum = bytearray(made.png_with(plain(), (b"eXIf", made.exif_orientation(6)[6:])))
    wrong_checksum[wrong_checksum.index(b"eXIf") + 6] ^= 0xFF
    yield "wrong_checksum.png", bytes(wrong_checksum), CORRUPT
    with_exif = encode(image, "JPEG", exif=made.exif_orientation(6))
    yield "two_blocks.jpg", made.jpeg_with_segment(with_exif, 0xE1, made.exif_orientation(8)), OK
    yield "pictures_index.jpg", made.jpeg_with_segment(jpeg, 0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff" + bytes(40)), OK


def broken_exif_blocks() -> dict[str, bytes]:
    """Blocks that an image may carry and still be one."""
    orientation = made.exif_orientation(6)
    resolution = (282, 2, 4, b"\0\0\0\0")  # text where there should be a fraction
    return {
        "empty": b"Exif\0\0",
        "cut_in_its_header": orientation[:10],
        "cut_in_its_directory": orientation[:20],
        "unknown_byte_order": orientation.replace(b"MM", b"XX"),
        "directory_beyond_the_end": orientation[:10] + b"\x7f\xff\xff\xff",
        "directory_at_its_own_start": orientation[:10] + bytes(4) + orientation[14:],
        "65535_entries": orientation[:14] + b"\xff\xff" + b"\x01\x12" * 20,
        "unknown_type": made.exif_block((274, 255, 1, b"\0\6")),
        "no_values": made.exif_block((274, 3, 0, b"")),
        "four_billion_values": made.exif_block((274, 3, 0xFFFF_FFFF, bytes(8))),
        "text_for_a_number": made.exif_block((274, 2, 4, b"six\0")),
        "fraction_of_zero": made.exif_block((274, 5, 1, bytes(8))),
        "orientation_65535": made.exif_orientation(65_535),
        "text_for_a_resolution": made.exif_block(resolution, (296, 3, 1, b"\0\2")),
        "directory_in_itself": made.exif_block((0x8769, 4, 1, struct.pack(">I", 8))),
    }


def _colours() -> Iterator[_File]:
    image = gradient()
    grey, alpha = image.convert("L"), image.getchannel(0)
    with_alpha = Image.merge("RGBA", [*image.split(), alpha])
    palette = image.quantize(16)
    wide = Image.fromarray(np.arange(60 * 90, dtype=np.uint16).reshape(60, 90) * 12)
    tall = np.linspace(-1.0, 1.0, 60 * 90, dtype=np.float32).reshape(60, 90)
    lab = Image.frombytes("LAB", image.size, image.tobytes())
    deep = made.png_file(made.png_image_header(2, 2, bits=16), made.png_rows(bytes(range(24)), 12))
    see_through = made.png_file(
        made.png_image_header(2, 1, bits=16, colour=0), (b"tRNS", b"\1\2"), made.png_rows(b"\1\2\3\4", 4)
    )
    signed = made.tiff_entries(2, 2, bits=16, sample_format=2, strip_bytes=8)
    contents = {
        "cmyk.jpg": encode(image.convert("CMYK"), "JPEG"),
        "ycck.jpg": made.ycck_jpeg(100, 128, 128, 50),
        "grey.jpg": encode(grey, "JPEG"),
        "one_bit.png": encode(image.convert("1")),
        "grey_with_alpha.png": encode(with_alpha.convert("LA")),
        "alpha.png": encode(with_alpha),
        "alpha.webp": encode(with_alpha, "WEBP"),
        "palette.png": encode(palette),
        "palette_with_one_transparent.png": encode(palette, transparency=3),
        "palette_with_alphas.png": encode(palette, transparency=bytes(range(16))),
        "palette_with_one_transparent.gif": encode(palette, "GIF", transparency=3),
        "16_bit_grey.png": encode(wide),
        "16_bit_rgb.png": deep,
        "16_bit_grey_with_one_transparent.png": see_through,
        "16_bit_grey.tif": encode(wide, "TIFF"),
        "16_bit_signed.tif": made.tiff_file(signed, struct.pack("<4h", -300, 0, 1, 300)),
        "32_bit.tif": encode(Image.fromarray(tall.astype(np.int32)), "TIFF"),
        "float.tif": encode(Image.fromarray(tall), "TIFF"),
        "not_a_number.tif": encode(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF"),
        "infinite.tif": encode(Image.fromarray(np.array([[-np.inf, 0, 1, np.inf]], np.float32)), "TIFF"),
        "cmyk.tif": encode(image.convert("CMYK"), "TIFF"),
        "lab.tif": encode(lab, "TIFF"),
        "ycbcr.tif": encode(image.convert("YCbCr"), "TIFF", compression="tiff_lzw"),
        "alpha.tif": encode(with_alpha, "TIFF", compression="tiff_lzw"),
        "fax.tif": encode(image.convert("1"), "TIFF", compression="group4"),
        "one_pixel.png": plain(size=(1, 1)),
        "one_column.png": plain(size=(1, 3000)),
        "one_row.jpg": plain(size=(3000, 1), format_="JPEG"),
    }
    for name, data in contents.items():
        yield name, data, OK


def _several_frames() -> Iterator[_File]:
    first, second = plain((200, 0, 0)), plain((0, 0, 200))
    red, blue = (Image.open(io.BytesIO(data)) for data in (first, second))
    frames: dict[str, Any] = {"save_all": True, "append_images": [blue]}
    yield "moving.gif", encode(red, "GIF", **frames), OK
    yield "moving.png", encode(red, "PNG", **frames), OK
    yield "moving.webp", encode(red, "WEBP", **frames), OK
    yield "pages.tif", encode(red, "TIFF", **frames), OK
    yield "pictures.jpg", encode(red, "MPO", **frames), OK
    yield "picture_behind_its_end.jpg", encode(red, "JPEG") + encode(blue, "JPEG"), OK
    yield "no_second_page.tif", _with_next_page(encode(red, "TIFF"), 0x7FFF_FFFF), OK
    yield "page_after_itself.tif", _with_next_page(encode(red, "TIFF"), 8), OK
    yield "archive_behind_its_end.png", first + _zipped("image.png", second), OK


def _with_next_page(tiff: bytes, offset: int) -> bytes:
    """A TIFF of one page, whose directory begins behind the header, with a further one announced."""
    end = 8 + 2 + 12 * struct.unpack("<H", tiff[8:10])[0]
    return tiff[:end] + struct.pack("<I", offset) + tiff[end + 4 :]


_ODD_NAMES = [
    b"new\nline.png",
    b"carriage\rreturn.png",
    b"tab\t.png",
    b"bell\a.png",
    b"escape\x1b[31m.png",
    b"delete\x7f.png",
    b" leading space.png",
    b"trailing space .png",
    b"quote'.png",
    b'double"quote.png',
    b"`$(reboot)`.png",
    b"a,b;c|d&e.png",
    b"<b>bold</b>.png".replace(b"/", b"\xe2\x88\x95"),
    b"*?[a]{b}.png",
    b"#hash?query=1&x.png",
    b"percent%20%00%.png",
    b"colon: c:.png",
    b"back\\slash.png",
    rb"literal\xe9.png",
    b"-rf.png",
    b"--output=x.png",
    b"_leading_underscore.png",
    b"~tilde.png",
    b"caf\xe9.png",
    b"\xff\xfe.png",
    b"\xed\xa0\x80 surrogate.png",
    "café composed.png".encode(),
    "cafe\u0301 decomposed.png".encode(),
    "żółw 🐢 👩\u200d👩\u200d👧.png".encode(),
    "right\u202egnp.exe.png".encode(),
    "zero\u200bwidth.png".encode(),
    "null\u2400.png".encode(),
    b"con.png",
    b"UPPER.PNG",
    b"two.dots..png",
    b"x" * 251 + b".png",
    "ż".encode() * 125 + b"x.png",
    b"a.jpg.png",
]


def _write_odd_names(folder: Path) -> dict[str, Kinds]:
    root = os.fsencode(folder)
    deep = b"/".join([b"d" * 100] * 12)  # a path of 1,200 bytes
    below_odd_folders = [deep + b"/deep.png", b"new\nfolder/a.png", b"caf\xe9/a.png", b"folder.jpg/a.png"]
    names = [b"names/" + name for name in [*_ODD_NAMES, *below_odd_folders]]
    for name in names:
        write_file(Path(os.fsdecode(root + b"/" + name)), plain())
    kinds = dict.fromkeys(map(name_to_text, names), OK)
    return kinds | {"names/folder.jpg": frozenset(("unreadable",))}


def _write_special_files(folder: Path, outside: Path) -> dict[str, Kinds]:
    write_file(outside, plain())
    write_file(folder / "sound.png", plain())
    (folder / "empty_folder.png").mkdir()
    links = {
        "link.png": ("sound.png", "ok"),
        "link_to_a_link.png": ("link.png", "ok"),
        "link_out_and_back.png": (f"../../{folder.parent.name}/files/sound.png", "ok"),
        "dangling.jpg": ("nowhere.jpg", "not_found"),
        "link_to_a_dangling_one.jpg": ("dangling.jpg", "not_found"),
        "through_a_file.jpg": ("sound.png/x.jpg", "unreadable"),
        "itself.jpg": ("itself.jpg", "unreadable"),
        "to.jpg": ("fro.jpg", "unreadable"),
        "fro.jpg": ("to.jpg", "unreadable"),
        "own_folder.jpg": (".", "unreadable"),
        "other_folder.jpg": ("empty_folder.png", "unreadable"),
        "out.png": (str(outside.resolve()), "refused"),
        "out_to_a_folder.png": (str(outside.resolve().parent), "refused"),
        "zeros_without_end.png": ("/dev/zero", "refused"),
        "terminal.png": ("/dev/tty", "refused"),
        "memory.png": ("/proc/self/mem", "refused"),
    }
    for name, (target, _) in links.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.jpg")
    os.mknod(folder / "socket.jpg", stat.S_IFSOCK | 0o600)
    (folder / "hard_link.png").hardlink_to(folder / "sound.png")
    write_file(folder / "forbidden.png", plain()).chmod(0)
    kinds = {name: kind for name, (_, kind) in links.items()} | {
        "sound.png": "ok",
        "hard_link.png": "ok",
        "empty_folder.png": "unreadable",
        "pipe.jpg": "unreadable",
        "socket.jpg": "unreadable",
        "forbidden.png": "ok" if os.geteuid() == 0 else "unreadable",  # permissions don't bind root
    }
    return {f"{folder.name}/{name}": frozenset((kind,)) for name, kind in kinds.items()}


def _write_sizes(folder: Path, max_bytes: int) -> dict[str, Kinds]:
    """Files about as large as allowed, and far larger; what lies behind the image takes no space on the disk."""
    sizes = {
        "as_large_as_allowed.jpg": (max_bytes, "ok"),
        "one_byte_too_many.jpg": (max_bytes + 1, "too_many_bytes"),
        "a_terabyte.jpg": (1 << 40, "too_many_bytes"),
    }
    for name, (num_bytes, _) in sizes.items():
        os.truncate(write_file(folder / name, plain(format_="JPEG")), num_bytes)
    return {f"{folder.name}/{name}": frozenset((kind,)) for name, (_, kind) in sizes.items()}


def _write_what_is_no_input(folder: Path) -> None:
    for name in ("names/.hidden.png", "names/.hidden/a.png", "names/notes.txt", "names/png", "names/a.png.part"):
        write_file(folder / name, plain())
    (folder / "names" / "linked_folder").symlink_to("..")

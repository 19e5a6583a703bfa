"""Image files made by hand, where no encoder would write what a test needs."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from PIL import Image

from tests.builders import encode, gradient

_DATA = Path(__file__).parent / "data"

# 48 x 32 pixels of `gradient`, written by libavif and libheif: not every Pillow has an encoder for them.
AVIF = (_DATA / "tiny.avif").read_bytes()
HEIC = (_DATA / "tiny.heic").read_bytes()

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

TiffEntry = tuple[int, int, int, bytes]  # tag, type, number of values, the values


def png_file(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of chunks, each (type, contents), with an end."""
    return PNG_SIGNATURE + b"".join(png_chunk(kind, data) for kind, data in [*chunks, (b"IEND", b"")])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_image_header(width: int, height: int, bits: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    """A PNG's first chunk; colour is 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGB with alpha."""
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)


def png_rows(rows: bytes, num_bytes_each: int) -> tuple[bytes, bytes]:
    """A PNG's pixels, unfiltered."""
    lines = (rows[at : at + num_bytes_each] for at in range(0, len(rows), num_bytes_each))
    return b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines))


def png_with(image: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with further chunks behind its header."""
    end_of_header = len(PNG_SIGNATURE) + 25
    added = b"".join(png_chunk(kind, data) for kind, data in chunks)
    return image[:end_of_header] + added + image[end_of_header:]


def deflated_zeros(num_bytes: int) -> bytes:
    """A thousandth of the size, with zlib's header."""
    squeezed = zlib.compressobj(9)
    piece = bytes(1 << 16)
    parts = [squeezed.compress(piece[: min(len(piece), num_bytes - at)]) for at in range(0, num_bytes, len(piece))]
    return b"".join(parts) + squeezed.flush()


def flat_png(side: int) -> bytes:
    """A black square of one bit a pixel: a few kilobytes for a hundred million pixels."""
    zeros = deflated_zeros(side * (1 + (side + 7) // 8))
    return png_file(png_image_header(side, side, bits=1, colour=0), (b"IDAT", zeros))


def jpeg_with_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = jpeg_segment(jpeg, (0xC0, 0xC1, 0xC2)) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def jpeg_segment(jpeg: bytes, markers: tuple[int, ...]) -> int:
    """Where the first segment with one of some markers begins."""
    at = 2
    while jpeg[at + 1] not in markers:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return at


def jpeg_with_segment(jpeg: bytes, marker: int, contents: bytes) -> bytes:
    """A JPEG with a further segment in the first place."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(contents) + 2) + contents + jpeg[2:]


def ycck_jpeg(luma: int, blue: int, red: int, black: int) -> bytes:
    """A plain JPEG in YCCK, as Adobe's programs write it: inverted CMYK, of which CMY is stored as YCbCr."""
    cmyk = Image.new("CMYK", (40, 30), tuple(255 - value for value in (luma, blue, red, black)))  # saved inverted
    data = encode(cmyk, "JPEG", quality=100)
    transform = jpeg_segment(data, (0xEE,)) + 4 + 11
    return data[:transform] + b"\x02" + data[transform + 1 :]


def webp_claiming(width: int, height: int) -> bytes:
    """A WebP with an extended header, and next to nothing behind it."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + encode(gradient(), "WEBP")[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def lossy_webp_claiming(width: int, height: int) -> bytes:
    """A lossy WebP whose frame claims a size of at most 16,383."""
    data = encode(gradient(), "WEBP")
    return data[:26] + struct.pack("<HH", width, height) + data[30:]


def lossless_webp_claiming(width: int, height: int) -> bytes:
    """A lossless WebP that claims a size of at most 16,384."""
    data = encode(gradient(), "WEBP", lossless=True)
    alpha_and_version = int.from_bytes(data[21:25], "little") >> 28
    bits = (width - 1) | (height - 1) << 14 | alpha_and_version << 28
    return data[:21] + bits.to_bytes(4, "little") + data[25:]


def gif_claiming(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """A GIF whose screen and first frame claim sizes; (width, height)."""
    data = encode(Image.new("P", (4, 4)), "GIF")
    descriptor = data.index(b",") + 5
    resized = data[:6] + struct.pack("<HH", *screen) + data[10:]
    return resized[:descriptor] + struct.pack("<HH", *frame) + resized[descriptor + 4 :]


def bmp_claiming(width: int, height: int) -> bytes:
    """A BMP that claims a size; a negative height means rows from top to bottom."""
    data = encode(gradient(), "BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def tiff_file(entries: list[TiffEntry], pixels: bytes = b"", order: str = "<", *, big: bool = False) -> bytes:
    """A TIFF of one directory, its pixels last; an entry for strips or tiles gets their place where it says -1.

    Args:
        entries: of the directory.
        pixels: one strip or tile.
        order: of the bytes, `<` or `>`.
        big: the format for files beyond 4 GB.
    """
    mark = b"II" if order == "<" else b"MM"
    header = mark + (struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8))
    count, offset, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    num_entry_bytes = 4 + 2 * struct.calcsize(order + offset)
    begin = len(header) + struct.calcsize(order + count) + num_entry_bytes * len(entries) + inline
    end = begin + sum(len(values) for *_, values in entries if len(values) > inline)
    directory, values_outside = struct.pack(order + count, len(entries)), b""
    for tag, kind, number, values in sorted(entries):
        if values == struct.pack(order + "i", -1):
            values = struct.pack(order + "I", end)
        if len(values) > inline:
            place = struct.pack(order + offset, begin + len(values_outside))
            values_outside += values
        else:
            place = values.ljust(inline, b"\0")
        directory += struct.pack(order + "HH" + offset, tag, kind, number) + place
    return header + directory + bytes(inline) + values_outside + pixels


def tiff_entries(width: int, height: int, order: str = "<", **others: int | bytes) -> list[TiffEntry]:
    """The entries of a grey image in one uncompressed strip, with others by the names in `TIFF_TAGS` instead."""
    values: dict[str, int | bytes] = {
        "width": width,
        "height": height,
        "bits": 8,
        "compression": 1,
        "photometric": 1,
        "samples": 1,
        "strip_offsets": -1,
        "strip_bytes": width * height,
    }
    return [_tiff_entry(TIFF_TAGS[name], value, order) for name, value in (values | others).items()]


TIFF_TAGS = {
    "width": 256,
    "height": 257,
    "bits": 258,
    "compression": 259,
    "photometric": 262,
    "strip_offsets": 273,
    "orientation": 274,
    "samples": 277,
    "rows_per_strip": 278,
    "strip_bytes": 279,
    "tile_width": 322,
    "tile_height": 323,
    "tile_offsets": 324,
    "tile_bytes": 325,
    "sample_format": 339,
}


def _tiff_entry(tag: int, value: int | bytes, order: str) -> TiffEntry:
    if isinstance(value, int):
        return tag, 4, 1, struct.pack(order + ("i" if value < 0 else "I"), value)
    return tag, 4, len(value) // 4, value


def with_claimed_size(media: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC of which every image claims another size."""
    parts = media.split(b"ispe")
    claim = bytes(4) + struct.pack(">II", width, height)
    return b"ispe".join([parts[0], *(claim + part[12:] for part in parts[1:])])


def exif_block(*entries: TiffEntry, order: str = ">") -> bytes:
    """An EXIF block as JPEG holds it, of one directory."""
    return b"Exif\0\0" + tiff_file(list(entries), order=order)


def exif_orientation(value: int) -> bytes:
    """An EXIF block with an orientation and nothing else."""
    return exif_block((274, 3, 1, struct.pack(">H", value)))

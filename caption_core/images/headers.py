"""What the first bytes of an image file say, read without a decoder: its format, and the size that it claims.

Some decoders set memory aside for the whole image, or refuse it, before they tell its size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    # The last two of each are how some programs write the number 42, or 43 for a TIFF beyond 4 GB.
    *((prefix, "TIFF") for prefix in (b"II*\0", b"II\0*", b"II+\0", b"MM\0*", b"MM*\0", b"MM\0+")),
)

# ISO base media files name in their first box what they are (ISO/IEC 23008-12, annex B; AV1 image file format, 6).
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_EITHER_BRANDS = frozenset((b"mif1", b"mif2", b"msf1", b"miaf"))

_MOST_BOXES = 1000  # of one level; more are not looked at
_Span = tuple[bytes, int, int]  # a box's type, and where its contents begin and end


def format_of(data: bytes) -> str | None:
    """A file's format by its signature: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIF; None for anything else."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _format_of_media(data)
    return next((name for signature, name in _SIGNATURES if data.startswith(signature)), None)


def claimed_size(data: bytes, format_: str) -> tuple[int, int] | None:
    """(width, height) in pixels that a WebP, AVIF or HEIF file claims; None for other formats, or if it claims none."""
    if format_ == "WEBP":
        return _webp_size(data)
    if format_ in ("AVIF", "HEIF"):
        return _media_size(data)
    return None


def _format_of_media(data: bytes) -> str | None:
    end = min(struct.unpack(">I", data[:4])[0], len(data), 256)
    major, compatible = data[8:12], {data[at : at + 4] for at in range(16, end - 3, 4)}
    brands = compatible if major in _EITHER_BRANDS else {major}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS or major in _EITHER_BRANDS else None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if len(data) < 30:
        return None
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return (width & 0x3FFF, height & 0x3FFF) if kind == b"VP8 " else None


def _media_size(data: bytes) -> tuple[int, int] | None:
    """The largest of the sizes of a file's images, which are tiles of the picture, its parts, and the picture."""
    sizes = [
        struct.unpack(">II", data[start + 4 : start + 12])
        for properties in _find(data, (b"meta", b"iprp", b"ipco"), 0, len(data))
        for kind, start, end in _boxes(data, *properties)
        if kind == b"ispe" and end - start >= 12
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _find(data: bytes, path: tuple[bytes, ...], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes at the end of a path of types begin and end."""
    if not path:
        yield start, end
        return
    for kind, first, last in _boxes(data, start, end):
        if kind == path[0]:
            version_and_flags = 4 if kind == b"meta" else 0
            yield from _find(data, path[1:], first + version_and_flags, last)


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Span]:
    return islice(_all_boxes(data, start, end), _MOST_BOXES)


def _all_boxes(data: bytes, start: int, end: int) -> Iterator[_Span]:
    while start + 8 <= end:
        (num_bytes,), kind, header = struct.unpack(">I", data[start : start + 4]), data[start + 4 : start + 8], 8
        if num_bytes == 1 and start + 16 <= end:
            (num_bytes,), header = struct.unpack(">Q", data[start + 8 : start + 16]), 16
        elif num_bytes == 0:  # up to the end
            num_bytes = end - start
        if num_bytes < header:
            return
        yield kind, start + header, min(start + num_bytes, end)
        start += num_bytes

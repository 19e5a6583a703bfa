"""One image's bytes to an array, or a typed error."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from caption_core.errors import ImageError, UsageError
from caption_core.images.colours import resized
from caption_core.images.headers import claimed_size, format_of
from caption_core.images.pillow_setup import FORMATS, WHAT_IS_MISSING, leniency
from caption_core.records import ErrorKind

# Pillow hands out what it has of these; of the others it has all or nothing.
_PARTIAL_FORMATS = frozenset(("JPEG", "PNG", "GIF", "BMP", "TIFF"))

# A JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size that is still this many times the target, so that
# the antialiasing filter keeps what it needs. At 1.5 to 1.7 times CIDEr-D falls by more than .2 points (docs/speed.md).
_JPEG_OVERSAMPLING = 2

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = frozenset((5, 6, 7, 8))

_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an image may cost, and how much of it must be sound.

    Attributes:
        max_pixels: width times height as the header says; larger images are not decoded. The default lets the
            108-megapixel photographs of phones pass, and bounds a decoding thread to 2.7 GB: 20 bytes a pixel.
        max_bytes: size of the encoded image; larger ones are not read.
        truncated: caption what could be decoded of a file that is cut off or damaged after its header, where the
            format allows it.
    """

    max_pixels: int = 1 << 27
    max_bytes: int = 1 << 27
    truncated: bool = False

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise UsageError(f"max pixels must be at least 1, not {self.max_pixels}")
        if self.max_bytes < 1:
            raise UsageError(f"max bytes must be at least 1, not {self.max_bytes}")


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image as the captioner takes it.

    Attributes:
        pixels: uint8 [height, width, 3], RGB, at the captioner's size.
        width: of the original in pixels, as displayed (after orientation).
        height: of the original in pixels, as displayed.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


class _JpegFile(JpegImagePlugin.JpegImageFile):
    """A JPEG's first picture and its orientation.

    `Image.open` also looks for further pictures, and both for a resolution; broken metadata makes that fail.
    """

    def _read_dpi_from_exif(self) -> None:
        pass


def decode_image(data: bytes, size: tuple[int, int], limits: ImageLimits) -> DecodedImage:
    """Decode and resize one image. May be called from several threads, with different limits too.

    Neither the result nor the error refers to `data`; the frames of a traceback do, as long as somebody keeps it. Time
    is not bounded: a few kilobytes of run lengths or of progressive scans can keep a decoder busy for a minute.

    Args:
        data: the encoded image.
        size: (height, width) in pixels of the result.
        limits: caps checked before any pixel is decoded.

    Raises:
        ImageError: EMPTY, TOO_MANY_BYTES, NOT_AN_IMAGE, TOO_MANY_PIXELS or CORRUPT.
    """
    result = _decoded_or_error(data, size, limits)
    if isinstance(result, DecodedImage):
        return result
    try:
        raise result
    finally:
        del data, result  # which the error's own traceback would keep


def describe(error: BaseException) -> str:
    """An exception as one short line: its text, or its type where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _decoded_or_error(data: bytes, size: tuple[int, int], limits: ImageLimits) -> DecodedImage | ImageError:
    try:
        format_ = _checked_format(data, limits)
        with leniency(limits.truncated and format_ in _PARTIAL_FORMATS), _open(data, format_) as image:
            for what, claimed in _claimed_sizes(image):
                _check_pixels(what, claimed, limits)
            return _decode(image, size)
    except ImageError as error:
        return error.with_traceback(None)
    except UnidentifiedImageError:
        return ImageError(ErrorKind.CORRUPT, "the header is damaged or cut off")
    except Exception as error:
        # Pillow's plugins raise whatever their parsing trips over: OSError, SyntaxError, ValueError, struct.error,
        # KeyError, zlib.error, MemoryError. None of them may end a run.
        return ImageError(ErrorKind.CORRUPT, describe(error))


def _checked_format(data: bytes, limits: ImageLimits) -> str:
    """The image's format, if it is one of ours and within what the limits allow."""
    if not data:
        raise ImageError(ErrorKind.EMPTY, "zero bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{len(data):,} bytes, more than the {limits.max_bytes:,} allowed")
    format_ = format_of(data)
    if format_ not in FORMATS:
        message = WHAT_IS_MISSING[format_] if format_ else f"no {', '.join(FORMATS)} header"
        raise ImageError(ErrorKind.NOT_AN_IMAGE, message)
    if claimed := claimed_size(data, format_):
        _check_pixels("", claimed, limits)
    return format_


def _open(data: bytes, format_: str) -> ImageFile.ImageFile:
    file = io.BytesIO(data)
    return _JpegFile(file) if format_ == "JPEG" else Image.open(file, formats=(format_,))


def _claimed_sizes(image: Image.Image) -> Iterator[tuple[str, tuple[int, int]]]:
    """What memory would be set aside for: the image, and a TIFF's tile, which may be larger than the image."""
    yield "", image.size
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        width, height = (image.tag_v2.get(tag) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if isinstance(width, int) and isinstance(height, int):
            yield "tiles of ", (width, height)


def _check_pixels(what: str, size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        message = f"{what}{width:,} x {height:,} pixels, more than the {limits.max_pixels:,} allowed"
        raise ImageError(ErrorKind.TOO_MANY_PIXELS, message)


def _decode(image: Image.Image, size: tuple[int, int]) -> DecodedImage:
    width, height = image.size
    if image.format == "JPEG":
        longest = _JPEG_OVERSAMPLING * max(size)  # in both directions, since orientation may swap them
        image.draft(None, (longest, longest))
    image.load()
    # Only now: PNG may hold EXIF after its pixels, and Pillow applies a TIFF's orientation while it loads it.
    orientation = _orientation(image)
    swapped = orientation in _SWAPPED
    if swapped:
        width, height = height, width
    rgb = resized(image, (size[0], size[1]) if swapped else (size[1], size[0]))
    if orientation in _TRANSPOSITIONS:
        rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
    return DecodedImage(np.asarray(rgb, dtype=np.uint8), width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # A broken EXIF block doesn't make the pixels worse.
        return 1

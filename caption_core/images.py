"""Image bytes to pixels: the only place where Pillow is used.

Rules, the same for every source of images:

- What counts is the content, not the file's name: JPEG, PNG, WebP, GIF, BMP and TIFF; of an animation or a
  multi-page file the first frame.
- EXIF orientation is applied. Embedded colour profiles are ignored.
- Grey becomes RGB; palettes are resolved; whatever is transparent lies on white; CMYK and YCbCr are converted;
  16-bit samples keep their high byte; 32-bit integer and float samples are stretched from their smallest to their
  largest value.
- The whole image is resized to the captioner's size with an antialiased bilinear filter. Its aspect ratio is not kept:
  this is how captioners are trained.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from caption_core.errors import ImageError, UsageError
from caption_core.records import ErrorKind

# Pillow's own cap is a warning at one size and an error at twice that size; ImageLimits replaces it by one rule.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of every odd EXIF block, which would flood a worker's log and tells nothing that a row does not.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
)

# A JPEG is decoded at the smallest of 1/1, 1/2, 1/4, 1/8 of its size that is still this many times the target, so that
# the antialiasing filter keeps what it needs.
_JPEG_OVERSAMPLING = 2
# Other formats are first reduced by an integer factor that leaves this many times the target (see Pillow's `resize`).
_REDUCING_GAP = 3.0

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
    """What an image may cost before it is decoded.

    Attributes:
        max_pixels: width times height as the header says; larger images are not decoded. The default lets the
            108-megapixel photographs of phones pass and bounds a decoding thread to about 0.5 GB.
        max_bytes: size of the encoded image; larger ones are not read.
    """

    max_pixels: int = 1 << 27
    max_bytes: int = 1 << 27

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


def decode_image(data: bytes, size: tuple[int, int], limits: ImageLimits) -> DecodedImage:
    """Decode and resize one image.

    Args:
        data: the encoded image.
        size: (height, width) in pixels of the result.
        limits: caps checked before any pixel is decoded.

    Raises:
        ImageError: EMPTY, TOO_MANY_BYTES, NOT_AN_IMAGE, TOO_MANY_PIXELS or CORRUPT.
    """
    if not data:
        raise ImageError(ErrorKind.EMPTY, "zero bytes")
    if len(data) > limits.max_bytes:
        raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{len(data):,} bytes, more than the {limits.max_bytes:,} allowed")
    try:
        with _open(data) as image:
            _check_pixels(image, limits)
            return _decode(image, size)
    except ImageError:
        raise
    except Exception as error:
        # Pillow's plugins raise whatever their parsing trips over: OSError, SyntaxError, ValueError, struct.error,
        # KeyError, zlib.error, MemoryError. None of them may end a run.
        raise ImageError(ErrorKind.CORRUPT, describe(error)) from error


def describe(error: BaseException) -> str:
    """An exception as one short line: its text, or its type where it has none."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MESSAGE_CHARACTERS else text[: _MESSAGE_CHARACTERS - 1] + "…"


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        if _is_known(data):
            raise ImageError(ErrorKind.CORRUPT, "the header is damaged or cut off") from error
        raise ImageError(ErrorKind.NOT_AN_IMAGE, f"no {', '.join(FORMATS)} header") from error


def _is_known(data: bytes) -> bool:
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _check_pixels(image: Image.Image, limits: ImageLimits) -> None:
    width, height = image.size
    if width * height > limits.max_pixels:
        message = f"{width:,} x {height:,} pixels, more than the {limits.max_pixels:,} allowed"
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
    rgb = _resized(image, (size[0], size[1]) if swapped else (size[1], size[0]))
    if orientation in _TRANSPOSITIONS:
        rgb = rgb.transpose(_TRANSPOSITIONS[orientation])
    return DecodedImage(np.asarray(rgb, dtype=np.uint8), width, height)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # A broken EXIF block doesn't make the pixels worse.
        return 1


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height) and convert to RGB, in the order that keeps each colour mode right."""
    image = _resizable(image)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR, reducing_gap=_REDUCING_GAP)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _resizable(image: Image.Image) -> Image.Image:
    """Convert to L, RGB or RGBA, the modes that a filter may average over."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_stretched(np.asarray(image, dtype=np.float64)))
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _stretched(samples: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Map samples of unknown range linearly to 0..255; not-a-number and infinite ones become 0."""
    finite = np.isfinite(samples)
    if not finite.any():
        return np.zeros(samples.shape, np.uint8)
    low, high = samples[finite].min(), samples[finite].max()
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.where(finite, (np.where(finite, samples, low) - low) * scale, 0.0).astype(np.uint8)

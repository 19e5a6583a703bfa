"""Image bytes to pixels: the only place where Pillow is used.

Rules, the same for every source of images:

- What counts is the content, not the file's name: JPEG, PNG, WebP, GIF, BMP and TIFF; AVIF where Pillow is built with
  it; HEIC and HEIF where the package pillow-heif is installed. Of an animation, a multi-page file or a JPEG with
  several pictures the first counts, of a HEIF file its primary image.
- EXIF orientation is applied, in AVIF and HEIF that of the container; where there is none, that of XMP as far as Pillow
  reads it. EXIF that is broken doesn't matter in JPEG, PNG and WebP. Embedded colour profiles are ignored.
- Grey becomes RGB; palettes are resolved; whatever is transparent lies on white; CMYK, YCbCr and Lab are converted, a
  JPEG's CMYK being inverted as Adobe's programs write it; unsigned 16-bit samples keep their high byte; other grey
  samples of more than 8 bits are stretched from their smallest to their largest value.
- The whole image is resized to the captioner's size with an antialiased bilinear filter. Its aspect ratio is not kept:
  this is how captioners are trained.
- A file that is cut off, or damaged so that its decoder notices, is an error. By option, what was decoded of a JPEG,
  PNG, GIF, BMP or uncompressed TIFF counts; the rest is grey or black, as its decoder leaves it. Files that are cut off
  in their header are an error in any case.
- An image is refused by the size that it claims, before memory is set aside for its pixels. Decoding takes up to 20
  bytes a pixel beyond the file itself: nearly none for a JPEG, 6 to 8 for a progressive one, 4 to 12 for most others,
  up to 17 for WebP and AVIF; and up to 36 for images that are only one or two pixels wide.
"""

from caption_core.images.decoding import DecodedImage, ImageLimits, decode_image, describe
from caption_core.images.pillow_setup import FORMATS

__all__ = ["FORMATS", "DecodedImage", "ImageLimits", "decode_image", "describe"]

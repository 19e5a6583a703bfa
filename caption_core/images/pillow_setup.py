"""What is set in Pillow once for the process: which formats it reads, and how far it goes with hostile ones."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from PIL import Image, ImageFile, TiffImagePlugin, features

# Pillow's own cap is a warning at one size and an error at twice that size; ImageLimits replaces it by one rule.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of every odd EXIF block, which would flood a worker's log and tells nothing that a row does not.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").setLevel(logging.CRITICAL)


def _use_avif() -> bool:
    if not features.check("avif"):
        return False
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # images are decoded side by side already
    return True


def _use_heif() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
    return True


_OPTIONAL = {"AVIF": _use_avif, "HEIF": _use_heif}

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", *(name for name, use in _OPTIONAL.items() if use()))
"""The formats that are decoded here, by their names in Pillow."""

WHAT_IS_MISSING = {"AVIF": "AVIF needs a Pillow that is built with it", "HEIF": "HEIC and HEIF need pillow-heif"}
"""What to say of the formats that are not always there."""


class _Leniency(threading.local):
    """A thread's own flag in the place of Pillow's, which holds for all threads."""

    is_on = False

    def __bool__(self) -> bool:
        return self.is_on


_LENIENCY = _Leniency()
ImageFile.LOAD_TRUNCATED_IMAGES = cast(bool, _LENIENCY)


@contextmanager
def leniency(is_on: bool) -> Iterator[None]:
    """Within it, whether Pillow hands out what it decoded of a damaged file, to this thread."""
    _LENIENCY.is_on = is_on
    try:
        yield
    finally:
        _LENIENCY.is_on = False


# Pillow makes a Python object of each value of a TIFF or EXIF tag: hundreds of bytes for a few of the file. No honest
# image is cut into so many strips that a tag of numbers has to be as long as this.
_MAX_TAG_VALUES = 1 << 18
_BYTES_AND_TEXT = frozenset((1, 2, 7))  # types of tags that stay one object

_TagLoader = Callable[[Any, bytes, bool], Any]


def _bounded(num_bytes_each: int, load: _TagLoader) -> _TagLoader:
    def load_bounded(directory: Any, data: bytes, legacy_api: bool) -> Any:
        if (count := len(data) // num_bytes_each) > _MAX_TAG_VALUES:
            raise ValueError(f"a tag of {count:,} values")
        return load(directory, data, legacy_api)

    return load_bounded


def _bound_tags() -> None:
    loaders = TiffImagePlugin.ImageFileDirectory_v2._load_dispatch
    for kind, (num_bytes_each, load) in loaders.items():
        if kind not in _BYTES_AND_TEXT:
            loaders[kind] = (num_bytes_each, _bounded(num_bytes_each, load))


_bound_tags()

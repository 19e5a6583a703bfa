"""Activations of the frozen part of an encoder, computed once and kept on disk as a memory map."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tensorflow as tf
import tf_keras
from filelock import FileLock
from numpy.typing import NDArray

from caption_core.errors import ImageError, UsageError
from caption_core.images import ImageLimits, decode_image
from caption_core.models.tracing import as_frozen_graph
from caption_core.training.cache_room import allocate, hold, lock_of, make_room
from caption_core.training.dataset import CaptionedImages

_BATCH_IMAGES = 32
_SMALLEST_CROP = 0.7  # of a side: what a caption speaks of should mostly stay in view
_FORMAT = 3  # part of a cache's key: a change of layout or of preprocessing makes old caches unused, not wrong
_LOG_INTERVAL_S = 15.0
_HEADER_BYTES = 4096  # more than an array file's


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Activations of every image of a split, in every view.

    Attributes:
        views: float16 [views, images, ...]; see `view_of`.
        file: what holds the file against removal while this is in use; None of what is in memory.
    """

    views: NDArray[np.float16]
    file: BinaryIO | None = None

    def batch(self, images: NDArray[np.int64], view: NDArray[np.int64] | int = 0) -> NDArray[np.float32]:
        """Activations float32 [batch, ...] of `images`, each in its `view`."""
        return self.views[view, images].astype(np.float32)

    def batches(
        self,
        plan: Sequence[NDArray[np.int64]],
        views: NDArray[np.int64],
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Iterator[NDArray[np.float32]]:
        """Activations float32 [batch, ...] of one batch after the other, each read in a thread during the one before.

        Args:
            plan: int64 [batch], the images of each.
            views: int64 [images], the view of each image.
            waiting: entered while a batch isn't there yet.
        """
        with ThreadPoolExecutor(max_workers=1) as reader:
            reading = (reader.submit(self.batch, images, views[images]) for images in plan)
            following = next(reading, None)
            while following is not None:
                current, following = following, next(reading, None)
                with waiting():
                    activations = current.result()
                yield activations


def cached_features(
    model: tf_keras.Model, images: CaptionedImages, folder: Path, *, views: int, log: Callable[[str], None] = print
) -> FeatureCache:
    """Open the cache of `model`'s outputs over `images`, computing it first where it is missing.

    A file lock lets one process of a node compute while the others wait; the finished file appears by an atomic move.
    Where the disk is full, caches that nobody uses give way to it.

    Args:
        model: images float32 [batch, height, width, 3] to activations [batch, ...].
        folder: where caches are kept; a cache's name is a digest of weights, graph, image files and views.
        views: in how many ways each image is seen.
        log: takes progress lines.

    Raises:
        UsageError: an image can't be decoded; training data must be whole.
        CapstanError: there is no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"features-{_key(model, images, views)}.npy"
    with FileLock(lock_of(path)):
        if not path.exists():
            _compute(model, images, path, views=views, log=log)
        return FeatureCache(np.load(path, mmap_mode="r"), hold(path))


def view_of(pixels: NDArray[np.float32], view: int, first: int) -> NDArray[np.float32]:
    """One of the ways in which training sees images: a cheap, repeatable augmentation that can be cached.

    View 0 is the image as it is; odd views are mirrored left to right; from view 2 on a random crop of at least
    `_SMALLEST_CROP` of each side is stretched to the whole.

    Args:
        pixels: float32 [batch, height, width, 3].
        view: which.
        first: position of the first image in its split; with the view it decides the crops.
    """
    seen = pixels[:, :, ::-1] if view % 2 else pixels
    if view < 2:
        return seen
    generator = np.random.default_rng((view, first))
    sides = generator.uniform(_SMALLEST_CROP, 1.0, (len(pixels), 2))
    corners = generator.uniform(0.0, 1.0 - sides)
    boxes = np.concatenate((corners, corners + sides), axis=1)
    rows = np.arange(len(pixels))
    crops: NDArray[np.float32] = tf.image.crop_and_resize(seen, boxes, rows, pixels.shape[1:3]).numpy()
    return crops


def _key(model: tf_keras.Model, images: CaptionedImages, views: int) -> str:
    graph = [[layer.name for layer in model.layers], model.input_shape, model.output_shape, model.output.dtype.name]
    digest = hashlib.sha256(json.dumps([_FORMAT, views, *graph]).encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    digest.update(files_stamp(images))
    return digest.hexdigest()[:20]


def files_stamp(images: CaptionedImages) -> bytes:
    """Names, sizes and times of change of the images' files: what is kept of them is keyed by it."""
    entries = ((name, (images.folder / name).stat()) for name in images.names)
    return "".join(f"{name}\0{entry.st_size}\0{entry.st_mtime_ns}\0" for name, entry in entries).encode()


def _compute(
    model: tf_keras.Model, images: CaptionedImages, path: Path, *, views: int, log: Callable[[str], None]
) -> None:
    shape = (views, len(images), *model.output_shape[1:])
    temporary = path.with_suffix(".partial")
    temporary.unlink(missing_ok=True)  # a killed run's, whose room is needed now
    try:
        _fill(_new_store(temporary, shape, log), model, images, log=log)
    except BaseException:
        temporary.unlink(missing_ok=True)  # it takes all of its room from the beginning
        raise
    os.replace(temporary, path)


def _new_store(path: Path, shape: tuple[int, ...], log: Callable[[str], None]) -> np.memmap[Any, np.dtype[np.float16]]:
    """A file for an array of float16, on a disk that has room for it."""
    make_room(path.parent, 2 * math.prod(shape) + _HEADER_BYTES, log)
    store = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    allocate(path)
    return store


def _fill(
    store: np.memmap[Any, np.dtype[np.float16]],
    model: tf_keras.Model,
    images: CaptionedImages,
    *,
    log: Callable[[str], None],
) -> None:
    """Write the activations of every image, in as many views as the store has."""
    pixels_of_images = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
    # Not Keras' `predict_on_batch`: of a model that was built for several workers it gathers what all of them computed.
    encode = as_frozen_graph(lambda pixels: tf.cast(model(pixels, training=False), tf.float32), [pixels_of_images])
    started = reported = time.monotonic()
    for begin, pixels in _decoded_batches(images, model.input_shape[1:3]):
        end = begin + len(pixels)
        for view in range(len(store)):
            store[view, begin:end] = encode(tf.constant(view_of(pixels, view, begin))).numpy()
        if time.monotonic() - reported > _LOG_INTERVAL_S or end == len(images):
            reported = time.monotonic()
            log(f"features: {end}/{len(images)} images, {end / (reported - started):.0f} images/s")
    store.flush()


def _decoded_batches(images: CaptionedImages, size: tuple[int, int]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        for begin in range(0, len(images), _BATCH_IMAGES):
            names = images.names[begin : begin + _BATCH_IMAGES]
            pixels = pool.map(lambda name: _decode(images.folder / name, size), names)
            yield begin, np.stack(list(pixels)).astype(np.float32)


def _decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), size, ImageLimits()).pixels
    except (OSError, ImageError) as error:
        raise UsageError(f"training image {path}: {error}") from error

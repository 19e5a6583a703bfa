"""What ranges of activations are measured on: training images, their features, and a decoder's states over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.errors import ImageError, UsageError
from caption_core.images import ImageLimits, decode_image
from caption_core.models.decoder import Decoder, without_unspoken
from caption_core.runtimes.litert import ENCODER, GraphFile, LiteRTEncoder
from caption_core.vocabulary import END, START

_BATCH_IMAGES = 25

# Every word that is spoken is a run of the calibrated graph, which is slow: more words say little more of the ranges.
_STEP_SAMPLES = 1000


def draw_images(files: Sequence[Path], count: int, seed: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Decode images drawn at random, without repetition, as many as there are at most.

    Args:
        files: to draw from.
        count: how many.
        seed: decides which.
        size: (height, width) that they are resized to.

    Returns:
        uint8 [height, width, 3] each.

    Raises:
        UsageError: there are no files, or one can't be read or decoded; the message names it.
    """
    if not files:
        raise UsageError("there is no calibration image")
    order = np.random.default_rng(seed).permutation(len(files))[:count]
    return [_decode(files[index], size) for index in order]


def _decode(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    try:
        return decode_image(path.read_bytes(), size, ImageLimits()).pixels
    except (OSError, ImageError) as error:
        raise UsageError(f"calibration image {path}: {error}") from error


def encode_images(graph: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features float32 [images, L, channels] that an encoder's LiteRT graph gives of images [images, height, width, 3].

    They are what a decoder behind it gets to see; those of the float encoder may be far from them.
    """
    return LiteRTEncoder(GraphFile(Path(ENCODER), graph), threads=1).encode(images)


def step_samples(decoder: Decoder, features: NDArray[np.float32], max_tokens: int) -> list[dict[str, NDArray[Any]]]:
    """Inputs of a decoder's step while it captions images greedily: `tokens` [1, 1], state and memory by name.

    Args:
        decoder: the float decoder.
        features: float32 [images, L, channels].
        max_tokens: words of the longest caption.
    """
    samples: list[dict[str, NDArray[Any]]] = []
    for begin in range(0, len(features), _BATCH_IMAGES):
        samples += _greedy_inputs(decoder, features[begin : begin + _BATCH_IMAGES], max_tokens)
        if len(samples) >= _STEP_SAMPLES:
            break
    return samples[:_STEP_SAMPLES]


def _greedy_inputs(
    decoder: Decoder, features: NDArray[np.float32], max_tokens: int
) -> Iterator[dict[str, NDArray[Any]]]:
    state, memory = decoder.start(tf.constant(features))
    tokens = tf.fill((len(features), 1), START)
    is_open = np.ones(len(features), bool)
    for _ in range(max_tokens + 1):
        arrays = dict(zip((*decoder.state_shapes, *decoder.memory_shapes), (*state, *memory), strict=True))
        inputs = {"tokens": tokens.numpy(), **{name: array.numpy() for name, array in arrays.items()}}
        for image in np.flatnonzero(is_open):
            yield {name: array[image : image + 1] for name, array in inputs.items()}
        logits, state = decoder.step(tokens, state, memory)
        tokens = tf.argmax(without_unspoken(logits), axis=-1, output_type=tf.int32)
        is_open &= tokens.numpy()[:, 0] != END


def greedy_captions(decoder: Decoder, features: NDArray[np.float32], max_tokens: int) -> NDArray[np.int32]:
    """Greedy captions int32 [images, 1, max_tokens], the start token first; what follows an end token says nothing."""
    state, memory = decoder.start(tf.constant(features))
    tokens = [tf.fill((len(features), 1), START)]
    while len(tokens) < max_tokens:
        logits, state = decoder.step(tokens[-1], state, memory)
        tokens.append(tf.argmax(without_unspoken(logits), axis=-1, output_type=tf.int32))
    return np.stack([token.numpy() for token in tokens], axis=-1)

"""Which images stand in which batch: seeded, bucketed by caption length, and the same for any number of workers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caption_core.training.dataset import CaptionedImages
from caption_core.vocabulary import END, PAD, START, Vocabulary

# Batches are cut from windows of this many batches, sorted by length: long enough that a batch holds captions of
# about one length (little padding), short enough that batches of an epoch stay varied.
_WINDOW_BATCHES = 16


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Captions of a split as token ids.

    Attributes:
        tokens: int32 [images, captions, max_tokens + 2]: start token, words, end token, padding. An image with fewer
            captions than others has rows of padding.
        lengths: int32 [images], the longest caption of an image, start and end tokens counted.
    """

    tokens: NDArray[np.int32]
    lengths: NDArray[np.int32]


def tokenize(images: CaptionedImages, vocabulary: Vocabulary, *, max_tokens: int) -> TokenTable:
    """Encode all captions; a caption longer than `max_tokens` words is cut there and gets no end token."""
    # At least two columns, the second of padding: TensorFlow 2.21 may crash in the gradient of an attention for one
    # caption an image (not with oneDNN off).
    most = max(2, *(len(captions) for captions in images.captions))
    table = np.full((len(images), most, max_tokens + 2), PAD, np.int32)
    for row, captions in enumerate(images.captions):
        for column, caption in enumerate(captions):
            words = vocabulary.encode(caption, max_tokens=max_tokens + 1)
            ids = [START, *words, END][: max_tokens + 2]
            table[row, column, : len(ids)] = ids
    return TokenTable(table, (table != PAD).sum(axis=-1).max(axis=-1).astype(np.int32))


def plan_epoch(lengths: NDArray[np.int32], *, batch_images: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Image indices of every batch of an epoch; each image stands in exactly one batch.

    Args:
        lengths: int32 [images], longest caption of an image.
        batch_images: images a batch, over all workers; the last batch may be smaller.
        seed, epoch: decide the order; equal ones give an equal plan on every worker and on a resumed run.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    window = batch_images * _WINDOW_BATCHES
    batches = []
    for begin in range(0, len(order), window):
        chunk = order[begin : begin + window]
        chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
        batches += [chunk[i : i + batch_images] for i in range(0, len(chunk), batch_images)]
    generator.shuffle(batches)
    return batches

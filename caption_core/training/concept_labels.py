"""An image's words as its labels. No TensorFlow here: a run is refused before it starts where there are none.

Captions reach an encoder through attention and a recurrent cell, and a few thousand images teach it little that way.
That an image's references speak of a "dog" or of "jumping" is a label that reaches it directly. Such word detectors are
the visual concepts of Fang et al. 2015 (arXiv 1411.4952) and Wu et al. 2016 (arXiv 1506.01144); here the encoder is all
that is kept of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.training.batches import TokenTable, tokenize
from caption_core.training.data import TrainingData
from caption_core.vocabulary import SPECIAL_TOKENS

_SMALLEST_SHARE = 1 / 300  # of the images whose references hold a word: it could not be learned from fewer
_LARGEST_SHARE = 0.5  # words of more images ("a", "in") say nothing of an image


@dataclass(frozen=True, slots=True)
class ConceptLabels:
    """Which concepts the references of an image hold, bool [images, concepts], for both splits."""

    train: NDArray[np.bool_]
    dev: NDArray[np.bool_]


def label_concepts(data: TrainingData) -> ConceptLabels:
    """Choose concepts by the training captions, and label both splits with them.

    Raises:
        UsageError: no word is one, or the dev split holds none.
    """
    concepts = choose_concepts(data.tokens)
    longest = data.tokens.tokens.shape[-1] - 2  # without start and end token
    dev = concept_labels(tokenize(data.dev, data.vocabulary, max_tokens=longest), concepts)
    if not dev.any():
        raise UsageError("the dev split's captions hold none of the training captions' concepts")
    return ConceptLabels(concept_labels(data.tokens, concepts), dev)


def choose_concepts(table: TokenTable) -> NDArray[np.int64]:
    """Token ids of the words that neither too few nor most images' references hold, int64 [concepts].

    Args:
        table: the training captions.

    Raises:
        UsageError: there is no such word.
    """
    images = len(table.tokens)
    ordered = np.sort(table.tokens.reshape(images, -1), axis=1)
    first = np.concatenate((np.ones((images, 1), np.bool_), ordered[:, 1:] != ordered[:, :-1]), axis=1)
    counts = np.bincount(ordered[first], minlength=len(SPECIAL_TOKENS))  # images that hold a token
    chosen = (counts >= max(2, _SMALLEST_SHARE * images)) & (counts <= _LARGEST_SHARE * images)
    chosen[: len(SPECIAL_TOKENS)] = False
    if not chosen.any():
        raise UsageError("no word is in the captions of two images and of no more than half: there are no concepts")
    return np.flatnonzero(chosen)


def concept_labels(table: TokenTable, concepts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which concepts an image's references hold, bool [images, concepts].

    Args:
        table: captions.
        concepts: token ids in ascending order, int64 [concepts].
    """
    tokens = table.tokens.reshape(len(table.tokens), -1)
    column = np.searchsorted(concepts, tokens).clip(max=len(concepts) - 1)
    image, place = np.nonzero(concepts[column] == tokens)
    labels = np.zeros((len(tokens), len(concepts)), np.bool_)
    labels[image, column[image, place]] = True
    return labels


def mean_average_precision(labels: NDArray[np.bool_], scores: NDArray[np.float32]) -> float:
    """How well scores put the images of each concept first: the mean, over concepts that occur, of average precision.

    Args:
        labels: bool [images, concepts], some of them true.
        scores: float32 [images, concepts].
    """
    order = np.argsort(-scores, axis=0, kind="stable")
    found = np.take_along_axis(labels, order, axis=0)
    precision = found.cumsum(axis=0) / np.arange(1, len(found) + 1)[:, None]
    occurrences = found.sum(axis=0)
    average = (precision * found).sum(axis=0)[occurrences > 0] / occurrences[occurrences > 0]
    return float(average.mean())

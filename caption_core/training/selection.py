"""Dev scores of a model in training: what the choice of the kept epoch rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tf_keras
from numpy.typing import NDArray

from caption_core.metrics.scores import corpus_scores
from caption_core.models.captioning import DecoderFunctions
from caption_core.search import SearchSettings, search
from caption_core.training.dataset import CaptionedImages
from caption_core.training.features import FeatureCache
from caption_core.vocabulary import Vocabulary

_BATCH_IMAGES = 50


def caption_features(
    decoder: DecoderFunctions, features: NDArray[np.float32], vocabulary: Vocabulary, settings: SearchSettings
) -> list[str]:
    """Best captions for features float32 [B, L, channels]."""
    state, step = decoder.start(features)
    return [vocabulary.decode(row) for row in search(step, state, settings).tokens[:, 0]]


class DevSet:
    """The dev split with its cached activations.

    Args:
        images: names and reference captions.
        cache: activations of the frozen encoder part.
        vocabulary: the captioner's vocabulary.
        settings: the search that scores are measured with.
    """

    def __init__(
        self, images: CaptionedImages, cache: FeatureCache, vocabulary: Vocabulary, settings: SearchSettings
    ) -> None:
        self._images, self._cache, self._vocabulary, self._settings = images, cache, vocabulary, settings

    def scores(self, upper: tf_keras.Model | None, decoder: DecoderFunctions) -> dict[str, float]:
        """Caption every image and score the captions: metric name to score."""
        captions: list[str] = []
        for features in dev_features(upper, self._cache):
            captions += caption_features(decoder, features, self._vocabulary, self._settings)
        return score_captions(self._images, captions)


def dev_features(upper: tf_keras.Model | None, cache: FeatureCache) -> Iterator[NDArray[np.float32]]:
    """Features of all images in order, float32 [batch, L, channels], from what is cached of them."""
    images = cache.views.shape[1]
    for begin in range(0, images, _BATCH_IMAGES):
        activations = cache.batch(np.arange(begin, min(begin + _BATCH_IMAGES, images)))
        yield upper.predict_on_batch(activations).astype(np.float32) if upper else activations


def score_captions(images: CaptionedImages, captions: Sequence[str]) -> dict[str, float]:
    """Corpus scores of one caption an image against all its references."""
    candidates = dict(zip(images.names, captions, strict=True))
    references = dict(zip(images.names, images.captions, strict=True))
    return corpus_scores(candidates, references).as_dict()

"""METEOR as NLTK computes it with its WordNet data: where the Java program is missing, and only there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from caption_core.metrics.blocks import Float64
from caption_core.metrics.optional_metrics import UnavailableError


class WordNetMeteor:
    """NLTK's `meteor_score` of the best-matching reference, averaged over images.

    It follows the first METEOR (Banerjee and Lavie 2005): other weights, no paraphrases, no function words. Its figures
    are not those of METEOR 1.5, so it has a name of its own.

    Raises:
        UnavailableError: NLTK's WordNet data is not there.
    """

    name = "METEOR (NLTK WordNet)"

    def __init__(self) -> None:
        """Find the data."""
        from nltk.corpus import wordnet
        from nltk.translate.meteor_score import meteor_score

        try:
            wordnet.ensure_loaded()
        except (LookupError, OSError) as error:
            raise UnavailableError(
                f"{self.name} left out: NLTK's WordNet data is missing; get it by: python -m nltk.downloader wordnet"
            ) from error
        self._score = meteor_score

    def columns(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Float64]:
        """Scores of the images."""
        scores = [
            self._score([text.split() for text in texts], caption.split())
            for caption, texts in zip(captions, references, strict=True)
        ]
        return {"wordnet_meteor": np.array(scores, np.float64)}

    def scores(self, sums: Mapping[str, Float64], num_images: float) -> Float64:
        """The mean."""
        return sums["wordnet_meteor"] / num_images

    def close(self) -> None:
        """Nothing was started."""

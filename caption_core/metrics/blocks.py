"""Captions and references of some images as flat arrays: what all the n-gram metrics are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from caption_core.metrics.tokenizer import tokenize

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Tokenizer = Callable[[str], list[str]]


@lru_cache(maxsize=1 << 17)
def word_key(word: str) -> int:
    """A word's 64-bit key, the same in every process (BLAKE2b), so that shards can be counted apart and merged."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Sentences:
    """Tokenized sentences, flat.

    Attributes:
        words: uint64 [words], the keys of all words, sentence after sentence.
        starts: int64 [sentences + 1], where each sentence starts in `words`, and the end.
        owner: int64 [sentences], the image that each sentence belongs to, ascending.
    """

    words: UInt64
    starts: Int64
    owner: Int64

    @property
    def lengths(self) -> Int64:
        """int64 [sentences], words a sentence."""
        return np.diff(self.starts)

    @classmethod
    def build(cls, texts: Iterable[str], owner: Sequence[int] | Int64, tokenizer: Tokenizer = tokenize) -> Sentences:
        """Tokenize `texts`; `owner[i]` is the image of the i-th text."""
        keys: list[int] = []
        starts = [0]
        for text in texts:
            keys += map(word_key, tokenizer(text))
            starts.append(len(keys))
        return cls(np.array(keys, np.uint64), np.array(starts, np.int64), np.asarray(owner, np.int64))


@dataclass(frozen=True, slots=True)
class Block:
    """Some images with one candidate and at least one reference each.

    Attributes:
        candidates: one sentence an image, in the order of the images.
        references: the references, those of an image side by side.
        references_per_image: int64 [images].
    """

    candidates: Sentences
    references: Sentences
    references_per_image: Int64

    @property
    def num_images(self) -> int:
        """How many images the block holds."""
        return len(self.references_per_image)

    @classmethod
    def build(
        cls, candidates: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer = tokenize
    ) -> Block:
        """Tokenize `candidates[i]` and its `references[i]`.

        Raises:
            ValueError: the lengths differ, or an image has no reference.
        """
        if len(candidates) != len(references):
            raise ValueError(f"{len(candidates)} candidates against references of {len(references)} images")
        counts = np.array([len(sentences) for sentences in references], np.int64)
        if not counts.all():
            raise ValueError("an image without a reference can't be scored")
        images = np.arange(len(counts), dtype=np.int64)
        flat = (sentence for sentences in references for sentence in sentences)
        return cls(
            Sentences.build(candidates, images, tokenizer),
            Sentences.build(flat, np.repeat(images, counts), tokenizer),
            counts,
        )

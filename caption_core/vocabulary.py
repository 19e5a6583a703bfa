"""Caption text to token ids and back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from caption_core.errors import BundleError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL_TOKENS = ("<pad>", "<start>", "<end>", "<unk>")

# A word is letters and digits of any script; apostrophes and hyphens stay inside it ("t-shirt", "man's").
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def split_words(caption: str) -> list[str]:
    """Lower-case a caption and split it into words; punctuation is dropped."""
    return _WORD.findall(caption.lower())


class Vocabulary:
    """Words and their ids; ids 0 to 3 are the padding, start, end and unknown tokens.

    Args:
        words: the words in id order, special tokens excluded.

    Raises:
        ValueError: a word stands twice, is empty, holds white space or is a special token.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.tokens: tuple[str, ...] = (*SPECIAL_TOKENS, *words)
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            raise ValueError("a word stands twice in the vocabulary")
        if any(not word or word.split() != [word] for word in words):
            raise ValueError("a word of the vocabulary is empty or holds white space")

    def __len__(self) -> int:
        """Number of tokens, special ones included."""
        return len(self.tokens)

    @property
    def words(self) -> tuple[str, ...]:
        """The words in id order, without the special tokens."""
        return self.tokens[len(SPECIAL_TOKENS) :]

    @classmethod
    def from_captions(cls, captions: Iterable[str], *, min_count: int) -> Vocabulary:
        """Keep the words that occur at least `min_count` times, most frequent first, ties in code-point order."""
        counts = Counter(word for caption in captions for word in split_words(caption))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read a file of one word a line (UTF-8, special tokens not listed).

        Raises:
            BundleError: the file can't be read or its words can't form a vocabulary.
        """
        try:
            return cls(path.read_text(encoding="utf-8").splitlines())
        except (OSError, ValueError) as error:
            raise BundleError(f"{path}: not a vocabulary: {error}") from error

    def encode(self, caption: str, *, max_tokens: int) -> list[int]:
        """Ids of a caption's first `max_tokens` words, without start and end tokens."""
        return [self._ids.get(word, UNKNOWN) for word in split_words(caption)[:max_tokens]]

    def decode(self, ids: Iterable[int]) -> str:
        """Words of `ids` up to the first end token, joined by spaces; other special tokens are left out."""
        words = []
        for token in ids:
            if token == END:
                break
            if token >= len(SPECIAL_TOKENS):
                words.append(self.tokens[token])
        return " ".join(words)

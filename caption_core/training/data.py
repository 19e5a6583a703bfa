"""What a run trains and selects on: both splits, their tokens and the vocabulary. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caption_core.bundle import VOCABULARY, open_bundle
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.training.batches import TokenTable, tokenize
from caption_core.training.config import DataConfig
from caption_core.training.dataset import CaptionedImages, load_split, read_captions
from caption_core.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Both splits, the vocabulary of the training captions, and the training captions as tokens."""

    train: CaptionedImages
    dev: CaptionedImages
    vocabulary: Vocabulary
    tokens: TokenTable


def load_data(
    config: DataConfig, initial: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> TrainingData:
    """Read captions and splits; the vocabulary is that of the `initial` bundle, or of the training captions alone.

    Args:
        config: where they are.
        initial: a float bundle, or None.
        tell: takes a line for each split of which images were left out.

    Raises:
        UsageError: a file can't be read, a split is unknown, or images lack captions or files.
    """
    train, dev = (images.first(config.limit_images) for images in _load_splits(config, tell))
    words = (caption for group in train.captions for caption in group)
    if initial:
        vocabulary = Vocabulary.load(open_bundle(initial).path(VOCABULARY))
    else:
        vocabulary = Vocabulary.from_captions(words, min_count=config.min_word_count)
    return TrainingData(train, dev, vocabulary, tokenize(train, vocabulary, max_tokens=config.max_tokens))


def _load_splits(config: DataConfig, tell: Callable[[str], None]) -> list[CaptionedImages]:
    files = [ReferenceFile(path) for path in config.captions]
    splits = ReferenceFile(config.splits) if config.splits else files[0]
    captions = read_captions(files)
    return [
        load_split(
            config.images,
            captions,
            split,
            splits.split_ids(split, numeric_ids=False),
            skip_missing=config.skip_missing,
            tell=tell,
        )
        for split in (config.train_split, config.dev_split)
    ]

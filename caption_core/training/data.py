"""What a run trains and selects on: both splits, their tokens and the vocabulary. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from caption_core.bundle import VOCABULARY, open_bundle
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


def load_data(config: DataConfig, initial: Path | None = None) -> TrainingData:
    """Read captions and splits; the vocabulary is that of the `initial` bundle, or of the training captions alone."""
    captions = read_captions(config.captions)
    train = load_split(config.images, captions, config.train_split).first(config.limit_images)
    dev = load_split(config.images, captions, config.dev_split).first(config.limit_images)
    words = (caption for group in train.captions for caption in group)
    if initial:
        vocabulary = Vocabulary.load(open_bundle(initial).path(VOCABULARY))
    else:
        vocabulary = Vocabulary.from_captions(words, min_count=config.min_word_count)
    return TrainingData(train, dev, vocabulary, tokenize(train, vocabulary, max_tokens=config.max_tokens))

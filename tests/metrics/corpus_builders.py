"""Corpora on disk for tests: captions as a run writes them, and references."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.outcomes import ImageOutcome, outcomes_to_table
from caption_core.errors import ImageError
from caption_core.records import Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings

_NOUNS = ("dog", "cat", "man", "woman", "grass", "street", "children", "ball")
_OTHERS = ("a", "the", "red", "green", "runs", "sleeps", "on", "in", "near", "two", "play", "with")
WORDS = [*_NOUNS, *_OTHERS]


def random_corpus(num_images: int, seed: int = 0) -> tuple[dict[str, str], dict[str, list[str]]]:
    pick = random.Random(seed)

    def sentence() -> str:
        return " ".join(pick.choices(WORDS, k=pick.randint(3, 12))).capitalize() + " ."

    names = [f"{number:06d}.jpg" for number in range(num_images)]
    return {name: sentence() for name in names}, {name: [sentence() for _ in range(5)] for name in names}


def write_run(folder: Path, captions: Mapping[str, str | None], parts: int = 3) -> Path:
    """Captions as Parquet parts of a run; None is an image that failed."""
    folder.mkdir(parents=True)
    for shard in range(parts):
        rows = caption_rows(dict(list(captions.items())[shard::parts]), shard)
        pq.write_table(rows, folder / f"part-{shard:05d}.parquet")
    return folder


def caption_rows(captions: Mapping[str, str | None], shard_id: int = 0) -> pa.Table:
    """A part's rows; None is an image that failed."""
    failure = ImageError(ErrorKind.CORRUPT, "cut off")
    outcomes = [
        ImageOutcome(ImageRef(name, "file:///x"), failure if text is None else Caption(text, -1.0, len(text.split())))
        for name, text in captions.items()
    ]
    return outcomes_to_table(outcomes, "m@1", shard_id, SearchSettings())


def write_tokens(path: Path, references: Mapping[str, Sequence[str]]) -> Path:
    """References as a Flickr8k token file."""
    lines = [f"{name}#{index}\t{text}\n" for name, texts in references.items() for index, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8")
    return path

"""Corpora on disk for tests: captions as a run writes them, and references."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.records import OUTPUT_SCHEMA

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
    common = {"uri": "x", "model_id": "m"}
    for shard in range(parts):
        rows = [
            {**common, "image_id": n, "caption": c, "status": "failed" if c is None else "ok", "shard_id": shard}
            for n, c in list(captions.items())[shard::parts]
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=OUTPUT_SCHEMA), folder / f"part-{shard:05d}.parquet")
    return folder


def write_tokens(path: Path, references: Mapping[str, Sequence[str]]) -> Path:
    """References as a Flickr8k token file."""
    lines = [f"{name}#{index}\t{text}\n" for name, texts in references.items() for index, text in enumerate(texts)]
    path.write_text("".join(lines), encoding="utf-8")
    return path

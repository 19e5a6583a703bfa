"""Texts of images as a stream of Arrow batches: what all readers of captions and references give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa

TEXT_SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("text", pa.string())])
"""One text of one image a row; `text` is null where a captioner failed on the image."""

_BATCH_ROWS = 50_000


def batch_texts(rows: Iterable[tuple[str, str | None]]) -> Iterator[pa.RecordBatch]:
    """Pack (image id, text) pairs into batches of `TEXT_SCHEMA`."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, _BATCH_ROWS)):
        ids, texts = zip(*chunk, strict=True)
        yield pa.record_batch([pa.array(ids, pa.string()), pa.array(texts, pa.string())], schema=TEXT_SCHEMA)

"""Dividing captions and references by image, so that each bucket can be scored alone, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from caption_core.metrics.blocks import Int64
from caption_core.metrics.text_batches import TEXT_SCHEMA

_BUCKET_IMAGES = 8_192
_MAX_BUCKETS = 400  # one open file each while they are written


def choose_num_buckets(num_captions: int) -> int:
    """How many buckets so many captions are divided into; it depends on nothing else, so results don't either."""
    return min(max(1, -(-num_captions // _BUCKET_IMAGES)), _MAX_BUCKETS)


def bucket_path(folder: Path, kind: str, bucket: int) -> Path:
    """Where the texts of one bucket lie; `kind` is 'captions' or 'references'."""
    return folder / f"{kind}-{bucket:05d}.arrow"


def divide(batches: Iterable[pa.RecordBatch], folder: Path, kind: str, num_buckets: int) -> None:
    """Write batches of `TEXT_SCHEMA` into one Arrow stream a bucket, keeping their order. The bucket of an image
    follows from its id alone."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(pa.ipc.new_stream(str(bucket_path(folder, kind, bucket)), TEXT_SCHEMA))
            for bucket in range(num_buckets)
        ]
        for batch in batches:
            for bucket, rows in _by_bucket(batch, num_buckets):
                writers[bucket].write_batch(rows)


def _by_bucket(batch: pa.RecordBatch, num_buckets: int) -> list[tuple[int, pa.RecordBatch]]:
    if num_buckets == 1:
        return [(0, batch)]
    bucket = _bucket_numbers(batch.column("image_id"), num_buckets)
    order = np.argsort(bucket, kind="stable")
    distinct, first = np.unique(bucket[order], return_index=True)
    ends = [*first[1:].tolist(), len(order)]
    grouped = batch.take(pa.array(order))
    return [
        (number, grouped.slice(start, end - start))
        for number, start, end in zip(distinct.tolist(), first.tolist(), ends, strict=True)
    ]


def _bucket_numbers(ids: pa.Array, num_buckets: int) -> Int64:
    return np.array([zlib.crc32(name.encode()) % num_buckets for name in ids.to_pylist()], np.int64)


def read_bucket(folder: Path, kind: str, bucket: int) -> list[tuple[str, str | None]]:
    """The (image id, text) pairs of a bucket, in the order that they were given in."""
    with pa.ipc.open_stream(str(bucket_path(folder, kind, bucket))) as stream:
        table = stream.read_all()
    return list(zip(table.column("image_id").to_pylist(), table.column("text").to_pylist(), strict=True))

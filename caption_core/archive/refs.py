"""References to images as Arrow record batches: the form in which sources list them and plans hold them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from caption_core.records import ImageRef

REF_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.large_string(), nullable=False),
        pa.field("uri", pa.large_string(), nullable=False),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("locator", pa.large_string(), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
    ]
)
"""`ImageRef`, a column an attribute."""

ROWS_PER_BATCH = 8192


def refs_to_batch(refs: Sequence[ImageRef]) -> pa.RecordBatch:
    """One row a reference, in order."""
    columns = (pa.array([getattr(ref, field.name) for ref in refs], field.type) for field in REF_SCHEMA)
    return pa.RecordBatch.from_arrays(list(columns), schema=REF_SCHEMA)


def batch_to_refs(batch: pa.RecordBatch | pa.Table) -> list[ImageRef]:
    """One reference a row, in order."""
    columns = (batch.column(name).to_pylist() for name in REF_SCHEMA.names)
    return [ImageRef(*values) for values in zip(*columns, strict=True)]


def batches_of(refs: Iterable[ImageRef]) -> Iterator[pa.RecordBatch]:
    """References in batches, taken from the iterable as the batches are."""
    remaining = iter(refs)
    while chunk := list(islice(remaining, ROWS_PER_BATCH)):
        yield refs_to_batch(chunk)

"""Manifests in Parquet files: a column of paths or addresses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from caption_core.archive.refs import ROWS_PER_BATCH
from caption_core.archive.sources.manifest_rows import RowChunk, WantedColumns
from caption_core.archive.sources.parquet_file import LostRows, open_for_listing, read_layout, row_batches
from caption_core.archive.sources.text_columns import column_to_text, plain_column


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """Rows are numbered from 0. Carried columns are not read here but with the images.

    Args:
        location: of the file.
    """

    location: str

    def columns(self) -> pa.Schema:
        """See `ManifestTable`."""
        return read_layout(self.location).schema

    def chunks(self, wanted: WantedColumns) -> Iterator[RowChunk]:
        """See `ManifestTable`."""
        columns = [wanted.path, *([wanted.image_id] if wanted.image_id else [])]
        first = 0
        with open_for_listing(self.location) as parquet:
            for batch in row_batches(parquet, columns):
                yield from _lost(first, batch) if isinstance(batch, LostRows) else [_chunk(first, batch, wanted)]
                first += batch.num_rows


def _chunk(first: int, batch: pa.RecordBatch, wanted: WantedColumns) -> RowChunk:
    return RowChunk(
        pa.array(np.arange(first, first + len(batch))),
        plain_column(batch.column(wanted.path)).cast(pa.large_binary()),
        column_to_text(batch.column(wanted.image_id)) if wanted.image_id else None,
        {},
    )


def _lost(first: int, lost: LostRows) -> Iterator[RowChunk]:
    for start in range(0, lost.num_rows, ROWS_PER_BATCH):
        number = min(ROWS_PER_BATCH, lost.num_rows - start)
        faults = dict.fromkeys(range(number), f"the Parquet file is damaged here: {lost.cause}")
        numbers = pa.array(np.arange(first + start, first + start + number))
        yield RowChunk(numbers, pa.nulls(number, pa.large_binary()), None, faults)

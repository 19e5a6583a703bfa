"""Reading text columns of Parquet: a file, or a folder of parts with whatever else a run wrote beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs

from caption_core.errors import UsageError

_BATCH_ROWS = 16_384
_READ_AHEAD = 2  # batches and files; keeps memory flat, and decoding still runs beside what consumes it


def open_dataset(path: str) -> ds.Dataset:
    """Open a Parquet file or folder, local or by URI (`s3://` ...); names with a leading `_` or `.` are passed over.

    Raises:
        UsageError: there is nothing there, or it isn't Parquet.
    """
    try:
        system, inside = fs.FileSystem.from_uri(path) if "://" in path else (fs.LocalFileSystem(), path)
        dataset = ds.dataset(inside, filesystem=system, format="parquet", exclude_invalid_files=False)
    except (OSError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UsageError(f"{path}: can't be read as Parquet: {_first_line(error)}") from error
    if not dataset.files:
        raise UsageError(f"{path}: the folder holds no Parquet file")
    return dataset


def pick_column(dataset: ds.Dataset, path: str, what: str, names: Sequence[str]) -> str:
    """The first of `names` that is a column.

    Raises:
        UsageError: none is.
    """
    for name in names:
        if name in dataset.schema.names:
            return name
    raise UsageError(f"{path}: no column with {what} ({', '.join(names)}); it has {', '.join(dataset.schema.names)}")


def read_batches(dataset: ds.Dataset, path: str, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Stream some columns, in the order of the files' names and rows."""
    try:
        yield from dataset.to_batches(
            columns=columns, batch_size=_BATCH_ROWS, batch_readahead=_READ_AHEAD, fragment_readahead=_READ_AHEAD
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: can't be read as Parquet: {_first_line(error)}") from error


def as_text(column: pa.Array) -> pa.Array:
    """An id or text column as strings: integers are written in decimal."""
    return column.cast(pa.string())


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

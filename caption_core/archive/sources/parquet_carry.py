"""The carried columns of a Parquet file, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from caption_core.archive.sources.parquet_cursor import ParquetCursor
from caption_core.archive.sources.source import no_beat
from caption_core.archive.sources.text_columns import bytes_to_text, is_text, plain_column
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

_LARGEST_BATCH = 1024


class CarriedColumns:
    """Reads what is carried along, apart from the images: damage in the ones doesn't cost the others.

    Args:
        location: of the file.
        signature: of the file as it was listed.
        carry: (column, the name it gets in the output).
    """

    def __init__(self, location: str, signature: str, carry: Sequence[tuple[str, str]]) -> None:
        self._carry = carry
        self._cursor = ParquetCursor(location, signature, [column for column, _ in carry], _LARGEST_BATCH)

    def announce(self, rows: Iterable[int], beat: Callable[[], None] = no_beat) -> None:
        """See `ParquetCursor`."""
        if self._carry:
            self._cursor.announce(rows, beat)

    def values(self, row: int) -> Mapping[str, Any]:
        """A row's values by their names in the output; none where they are damaged.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE or DOWNLOAD_FAILED. The row must fail, or else nobody would try again to
                get its values.
        """
        if not self._carry:
            return {}
        try:
            batch = self._cursor.take(row)
        except ImageError as error:
            if error.kind is ErrorKind.CORRUPT:
                return {}
            raise
        return {name: _value(plain_column(batch.column(column))) for column, name in self._carry}

    def close(self) -> None:
        """Let go of the file."""
        self._cursor.close()


def _value(column: pa.Array) -> Any:
    """The value of a column of length 1, in a form that `pyarrow.array` makes the same value of."""
    value = column[0]
    if not value.is_valid:
        return None
    if is_text(column.type):
        return bytes_to_text(column.cast(pa.large_binary())[0].as_py())
    # Python's times are coarser than Arrow's, and its types for nested values may be, too.
    return value.as_py() if any(check(column.type) for check in _LOSSLESS) else value


_LOSSLESS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_binary,
    pa.types.is_large_binary,
)

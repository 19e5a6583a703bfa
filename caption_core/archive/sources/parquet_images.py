"""A Parquet file of images: a column of encoded images, or of the structs that Hugging Face datasets write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from caption_core.archive.refs import REF_SCHEMA, ROWS_PER_BATCH
from caption_core.archive.sources.archive_files import file_uri, open_archive_file
from caption_core.archive.sources.carry import carried_schema, with_columns_that_are_there
from caption_core.archive.sources.column_choice import check_id_column, has_paths, image_field, may_hold_images
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_carry import CarriedColumns
from caption_core.archive.sources.parquet_cursor import ParquetCursor
from caption_core.archive.sources.parquet_file import LostRows, open_for_listing, read_layout, row_batches
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.archive.sources.text_columns import column_to_text, null_where_empty
from caption_core.errors import ImageError
from caption_core.records import ErrorKind, ImageRef

_TEXT = pa.large_string()


def holds_images(location: str, options: InputOptions) -> bool:
    """Whether a Parquet file is to be read as images, and not as a manifest of paths.

    It is if it has the image column that the user names, or, unless it has the path column that the user names, any
    column that may hold images.

    Raises:
        UsageError: it can't be read, or is no Parquet file.
    """
    schema = read_layout(location).schema
    if options.image_column is not None and options.image_column in schema.names:
        return True
    if options.path_column is not None and options.path_column in schema.names:
        return False
    return any(may_hold_images(field.type) for field in schema)


@dataclass(frozen=True, slots=True)
class ParquetImages:
    """The images of one Parquet file, a row an image, in the order of the rows.

    An image's id is its value in the id column that the user names; without one, or where that is empty, the path in
    its struct; without one, or where that is empty too, its row's number (`row-000000017`). That path is a name, and
    never followed.

    Args:
        location: of the file: an absolute path, or an address.
        num_rows: in it.
        signature: of the file as it was listed.
        image: the column of images.
        in_struct: the children of that column that are read; none where it holds bytes.
        id_column: None for ids as described above.
        carry: (column, the name it gets in the output).
        schema: of the carried columns.
    """

    location: str
    num_rows: int
    signature: str
    image: str
    in_struct: tuple[str, ...]
    id_column: str | None
    carry: tuple[tuple[str, str], ...]
    schema: pa.Schema

    @classmethod
    def at(cls, location: str, options: InputOptions) -> ParquetImages:
        """The source of a file that must exist; its footer is read.

        Args:
            location: an absolute path, or an address such as s3://bucket/photos.parquet.
            options: image column, id column and carried columns count.

        Raises:
            UsageError: the file can't be read, or lacks a column, or the column of images isn't clear.
        """
        layout = read_layout(location)
        options = with_columns_that_are_there(options, layout.schema)
        image = image_field(location, layout.schema, options.image_column)
        check_id_column(location, layout.schema, options.id_column)
        return cls(
            location,
            layout.num_rows,
            layout.signature,
            image.name,
            _children(image.type),
            options.id_column,
            options.carry,
            carried_schema(location, layout.schema, options.carry),
        )

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`; reads no image, only what ids are made of. Where that is damaged, row numbers are ids."""
        first = 0
        for names in self._names():
            yield self._refs(first, names)
            first += len(names)

    def carried(self) -> pa.Schema:
        """See `ImageSource`."""
        return self.schema

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        open_archive_file(self.location).close()
        return _ParquetReader(self)

    def version(self) -> str:
        """See `ImageSource`: the file's, since row numbers don't tell two files apart, and the column's name."""
        return f"{self.signature} {self.image}"

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return [self.location]

    def image_columns(self) -> list[str]:
        """What of the file an image is read from."""
        return [f"{self.image}.{child}" for child in self.in_struct] or [self.image]

    def _refs(self, first: int, names: pa.Array) -> pa.RecordBatch:
        rows = pa.array(np.arange(first, first + len(names))).cast(_TEXT)
        columns = [
            pc.coalesce(names, _joined("row-", pc.utf8_lpad(rows, 9, "0"))),
            _joined(f"{file_uri(self.location)}#row=", rows),
            pa.array(np.full(len(rows), -1, np.int64)),
            rows,
            pa.array(np.zeros(len(rows), np.int32)),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=REF_SCHEMA)

    def _names(self) -> Iterator[pa.Array]:
        """What the rows bring along as ids, null where they don't; large_string, in row order."""
        columns = [*([self.id_column] if self.id_column else []), *self.image_columns()[1:]]
        if not columns:
            yield from _nulls(self.num_rows)
            return
        with open_for_listing(self.location) as parquet:
            for batch in row_batches(parquet, columns):
                if isinstance(batch, LostRows):
                    yield from _nulls(batch.num_rows)
                else:
                    yield self._names_in(batch)

    def _names_in(self, batch: pa.RecordBatch) -> pa.Array:
        names = pa.nulls(len(batch), _TEXT)
        if len(self.in_struct) > 1:
            names = null_where_empty(column_to_text(pc.struct_field(batch.column(self.image), "path")))
        if self.id_column:
            names = pc.coalesce(null_where_empty(column_to_text(batch.column(self.id_column))), names)
        return names


class _ParquetReader:
    def __init__(self, source: ParquetImages) -> None:
        self._source = source
        self._images = ParquetCursor(source.location, source.signature, source.image_columns())
        self._carried = CarriedColumns(source.location, source.signature, source.carry)

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`; goes to the first of the rows, which may take as long as reading what lies before it."""
        rows = [int(ref.locator) for ref in refs]
        self._images.announce(rows, beat)
        self._carried.announce(rows, beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """See `ImageReader`."""
        row = int(ref.locator)
        carried: Mapping[str, Any] = {}
        try:
            carried = self._carried.values(row)
            return SourceImage(self._read(row, max_bytes), carried)
        except ImageError as error:
            return SourceImage(error, carried)

    def close(self) -> None:
        """See `ImageReader`."""
        self._images.close()
        self._carried.close()

    def _read(self, row: int, max_bytes: int) -> bytes:
        value = self._images.take(row).column(self._source.image)[0]
        if not value.is_valid:
            raise ImageError(ErrorKind.EMPTY, "null")
        if self._source.in_struct:
            path = value["path"] if "path" in self._source.in_struct else None
            value = value["bytes"]
            if not value.is_valid and path is not None and path.is_valid:
                raise ImageError(ErrorKind.UNREADABLE, "only a path, no bytes")
        return _checked_bytes(value, max_bytes)


def _checked_bytes(value: pa.Scalar, max_bytes: int) -> bytes:
    if not value.is_valid:
        raise ImageError(ErrorKind.EMPTY, "null")
    data = value.as_buffer()
    if data.size > max_bytes:
        raise ImageError(ErrorKind.TOO_MANY_BYTES, f"{data.size:,} bytes, more than the {max_bytes:,} allowed")
    if not data.size:
        raise ImageError(ErrorKind.EMPTY, "zero bytes")
    return bytes(data.to_pybytes())


def _children(kind: pa.DataType) -> tuple[str, ...]:
    if not pa.types.is_struct(kind):
        return ()
    return ("bytes", "path") if has_paths(kind) else ("bytes",)


def _nulls(number: int) -> Iterator[pa.Array]:
    for first in range(0, number, ROWS_PER_BATCH):
        yield pa.nulls(min(ROWS_PER_BATCH, number - first), _TEXT)


def _joined(prefix: str, texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(pa.scalar(prefix, _TEXT), texts, pa.scalar("", _TEXT))

"""Several archives as one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from caption_core.archive.refs import REF_SCHEMA
from caption_core.archive.sources.source import ImageReader, ImageSource, SourceImage, no_beat
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef


@dataclass(frozen=True, slots=True)
class CombinedSource:
    """The images of several sources, one source after the other.

    Attributes:
        sources: each with its name; where there is more than one, names are unique and come before the image ids, with
            a slash between.
    """

    sources: tuple[tuple[str, ImageSource], ...]

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`."""
        for number, (name, source) in enumerate(self.sources):
            for batch in source.list_refs():
                yield _labelled(batch, number, name if len(self.sources) > 1 else "")

    def carried(self) -> pa.Schema:
        """See `ImageSource`: the columns of all of them.

        Raises:
            UsageError: a column has one type here and another there.
        """
        columns: dict[str, tuple[str, pa.Field]] = {}
        for name, source in self.sources:
            for field in source.carried():
                first, known = columns.setdefault(field.name, (name, field))
                if known.type != field.type:
                    raise UsageError(
                        f"column {field.name!r} is {known.type} in {first} and {field.type} in {name}: "
                        "only columns of one type can be carried along"
                    )
        return pa.schema([field for _, field in columns.values()])

    def open_reader(self) -> ImageReader:
        """See `ImageSource`; looks at the first and the last of them, since there may be thousands."""
        for _, source in {0: self.sources[0], 1: self.sources[-1]}.values():
            source.open_reader().close()
        return _CombinedReader([source for _, source in self.sources])

    def version(self) -> str:
        """See `ImageSource`."""
        versions = [source.version() for _, source in self.sources]
        return hashlib.sha256("\n".join(versions).encode()).hexdigest() if any(versions) else ""

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return [location for _, source in self.sources for location in source.locations()]


class _CombinedReader:
    """Opens the readers of the sources that a shard needs, and closes the others."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self._readers: dict[int, ImageReader | ImageError] = {}

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        wanted: dict[int, list[ImageRef]] = {}
        for ref in refs:
            wanted.setdefault(ref.source, []).append(ref)
        for number in self._readers.keys() - wanted.keys():
            _close(self._readers.pop(number))
        for number, its_refs in wanted.items():
            reader = self._readers[number] = self._open(number)
            if not isinstance(reader, ImageError):
                reader.begin(its_refs, beat=beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        reader = self._readers[ref.source]
        return SourceImage(reader) if isinstance(reader, ImageError) else reader.read(ref, max_bytes)

    def close(self) -> None:
        for reader in self._readers.values():
            _close(reader)
        self._readers = {}

    def _open(self, number: int) -> ImageReader | ImageError:
        """An archive that is gone is not the end of a run of thousands: each of its images says so."""
        reader = self._readers.get(number)
        if reader is not None and not isinstance(reader, ImageError):
            return reader
        try:
            return self._sources[number].open_reader()
        except (CapstanError, OSError) as error:
            return ImageError(ErrorKind.UNREADABLE, f"its archive can't be read on {os.uname().nodename}: {error}")


def _close(reader: ImageReader | ImageError) -> None:
    if not isinstance(reader, ImageError):
        reader.close()


def _labelled(batch: pa.RecordBatch, number: int, label: str) -> pa.RecordBatch:
    columns = {name: batch.column(name) for name in REF_SCHEMA.names}
    columns["source"] = pa.array([number] * len(batch), pa.int32())
    if label:
        text = pa.scalar(label, pa.large_string())
        columns["image_id"] = pc.binary_join_element_wise(text, columns["image_id"], pa.scalar("/", pa.large_string()))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=REF_SCHEMA)

"""Several archives as one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caption_core.archive.patience import patiently, refusal_of
from caption_core.archive.refs import REF_SCHEMA
from caption_core.archive.sources.source import ImageReader, ImageSource, SourceImage, carried_in, no_beat
from caption_core.archive.storage import is_remote
from caption_core.archive.store_errors import image_error_of
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

    def carried_in(self, ref: ImageRef) -> Mapping[str, Any]:
        """See `CarryingRefs`."""
        return carried_in(self.sources[ref.source][1], ref)

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
        self._refusing: set[int] = set()  # to the end of the wait, when they were needed last

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`; waits a while for archives that can't be opened at this moment."""
        waiting: dict[int, list[ImageRef]] = {}
        for ref in refs:
            waiting.setdefault(ref.source, []).append(ref)
        for number in self._readers.keys() - waiting.keys():
            _close(self._readers.pop(number))
        for number in self._refusing & waiting.keys():
            self._begin_once(number, waiting.pop(number), beat)
        with suppress(CapstanError, OSError):
            patiently(lambda: self._begin_waiting(waiting, beat), beat)
        # One refused to the end. The others, of which there may be thousands, aren't waited for, too.
        for number, its_refs in waiting.items():
            self._begin_once(number, its_refs, beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        reader = self._readers[ref.source]
        return SourceImage(reader) if isinstance(reader, ImageError) else reader.read(ref, max_bytes)

    def close(self) -> None:
        for reader in self._readers.values():
            _close(reader)
        self._readers = {}

    def _begin_waiting(self, waiting: MutableMapping[int, list[ImageRef]], beat: Callable[[], None]) -> None:
        """Begin with one archive after the other, and strike it out; ends at one that refuses for no lasting reason."""
        for number in list(waiting):
            self._begin_one(number, waiting[number], beat)
            del waiting[number]

    def _begin_once(self, number: int, refs: Sequence[ImageRef], beat: Callable[[], None]) -> None:
        """Without waiting, neither now nor the next time if it refuses."""
        self._refusing.discard(number)
        try:
            self._begin_one(number, refs, beat)
        except (CapstanError, OSError):
            self._refusing.add(number)

    def _begin_one(self, number: int, refs: Sequence[ImageRef], beat: Callable[[], None]) -> None:
        """Raises what may pass. An archive that is gone is not the end of a run of thousands: its images say so."""
        beat()
        try:
            self._opened(number).begin(refs, beat=beat)
        except (CapstanError, OSError) as error:
            if refusal_of(error) is not None:
                raise

    def _opened(self, number: int) -> ImageReader:
        reader = self._readers.get(number)
        if reader is None or isinstance(reader, ImageError):
            try:
                reader = self._readers[number] = self._sources[number].open_reader()
            except (CapstanError, OSError) as error:
                self._readers[number] = _image_error(error, self._sources[number])
                raise
        return reader


def _image_error(error: Exception, source: ImageSource) -> ImageError:
    refusal = refusal_of(error) if any(map(is_remote, source.locations())) else None
    kind = ErrorKind.UNREADABLE if refusal is None else image_error_of(refusal).kind
    return ImageError(kind, f"its archive can't be read on {os.uname().nodename}: {error}")


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

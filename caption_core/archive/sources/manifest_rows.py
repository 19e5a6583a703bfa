"""Rows of manifests of all kinds, in the form in which references are made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

import pyarrow as pa

from caption_core.archive.refs import ROWS_PER_BATCH


@dataclass(frozen=True, slots=True)
class WantedColumns:
    """What is read of a manifest.

    Attributes:
        path: the column of paths and addresses; empty where there are no columns.
        image_id: the column of ids, if any.
        carry: columns to carry along.
    """

    path: str
    image_id: str | None = None
    carry: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Consecutive rows of a manifest.

    Attributes:
        numbers: int64 [n], by which people find the rows: lines from 1, or rows of a Parquet file from 0.
        paths: large_binary [n], paths and addresses as written; null where there is none.
        ids: large_string [n], image ids; null where there are none.
        faults: by index, why a row has no path.
        carried: large_string [n], carried values as JSON objects, or null; None where they are read again later.
    """

    numbers: pa.Array
    paths: pa.Array
    ids: pa.Array | None
    faults: Mapping[int, str]
    carried: pa.Array | None = None


class ManifestTable(Protocol):
    """A manifest of one kind."""

    def columns(self) -> pa.Schema:
        """Its columns.

        Raises:
            UsageError: the file can't be read, or isn't of this kind.
        """
        ...

    def chunks(self, wanted: WantedColumns) -> Iterator[RowChunk]:
        """All rows in order, as a stream: also those that are of no use.

        Raises:
            UsageError: the file can't be read.
        """
        ...


class TextRow(NamedTuple):
    """A row of a manifest of text: a path, or why there is none.

    Attributes:
        number: of its first line, from 1.
        path: as written.
        fault: in words, where there is no path.
        image_id: valid Unicode.
        carried: a JSON object of valid Unicode.
    """

    number: int
    path: bytes | None
    fault: str = ""
    image_id: str | None = None
    carried: str | None = None


NO_PATH = "it names no path"


def text_chunks(rows: Iterable[TextRow], wanted: WantedColumns) -> Iterator[RowChunk]:
    """Rows in chunks, taken from the iterable as the chunks are."""
    remaining = iter(rows)
    while chunk := list(islice(remaining, ROWS_PER_BATCH)):
        numbers, paths, faults, ids, carried = zip(*chunk, strict=True)
        yield RowChunk(
            pa.array(numbers, pa.int64()),
            pa.array(paths, pa.large_binary()),
            pa.array(ids, pa.large_string()) if wanted.image_id else None,
            {index: fault for index, fault in enumerate(faults) if fault},
            pa.array(carried, pa.large_string()) if wanted.carry else None,
        )

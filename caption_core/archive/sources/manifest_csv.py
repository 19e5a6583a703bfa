"""Manifests of comma- or tab-separated values."""

from __future__ import annotations

import csv
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from caption_core.archive.sources.manifest_lines import LineFault, read_lines
from caption_core.archive.sources.manifest_rows import NO_PATH, RowChunk, TextRow, WantedColumns, text_chunks
from caption_core.archive.sources.text_columns import bytes_to_text
from caption_core.errors import UsageError

LONGEST_RECORD_CHARACTERS = 1 << 20

# Python's csv module bounds a cell to 131,072 characters, unless somebody told it otherwise for the whole process.
_CSV_WORDS = {
    "unexpected end of data": "a quote in it is opened and never closed",
    "field larger than field limit": "a quote in it is opened and never closed, or a cell is too long",
    "new-line character seen in unquoted field": "a carriage return stands in the middle of it",
}


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A header, and a record a line; a quoted cell may go over several lines.

    A record that doesn't fit (quotes that are wrong, another number of cells than the header) is a fault of its first
    line alone, and reading goes on with the next line: one stray quote can't take the rows after it along.

    Args:
        location: of the file.
        delimiter: between cells.
    """

    location: str
    delimiter: str

    def columns(self) -> pa.Schema:
        """See `ManifestTable`."""
        return pa.schema([(name, pa.string()) for name in self._header()[1]])

    def chunks(self, wanted: WantedColumns) -> Iterator[RowChunk]:
        """See `ManifestTable`."""
        return text_chunks(self._rows(wanted), wanted)

    def _header(self) -> tuple[Iterator[_Record], list[str]]:
        records = _records(_Feed(read_lines(self.location)), self.delimiter)
        for number, cells in records:
            if isinstance(cells, str):
                raise UsageError(f"{self.location}: line {number} can't be its header: {cells}")
            return records, [_text(cell.strip()) for cell in cells]
        raise UsageError(f"{self.location}: empty, without a header")

    def _rows(self, wanted: WantedColumns) -> Iterator[TextRow]:
        records, header = self._header()
        path = header.index(wanted.path)
        image_id = header.index(wanted.image_id) if wanted.image_id else None
        carry = [(name, header.index(name)) for name in wanted.carry]
        for number, cells in records:
            if isinstance(cells, str):
                yield TextRow(number, None, cells)
                continue
            yield TextRow(
                number,
                cells[path].encode("utf-8", "surrogateescape") if cells[path].strip() else None,
                "" if cells[path].strip() else NO_PATH,
                None if image_id is None else _text(cells[image_id]),
                _carried(cells, carry) if carry else None,
            )


_Record = tuple[int, "list[str] | str"]


class _BrokenRecordError(Exception):
    pass


class _Feed:
    """Gives lines to the csv module, and can take back all of a record but its first one."""

    def __init__(self, lines: Iterator[tuple[int, bytes | LineFault]]) -> None:
        self._lines = lines
        self._again: deque[tuple[int, bytes | LineFault]] = deque()
        self.taken: list[tuple[int, bytes | LineFault]] = []
        self._num_characters = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        numbered = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(numbered)
        line = numbered[1]
        if isinstance(line, LineFault):
            raise _BrokenRecordError(line.message)
        self._num_characters += len(line)
        if self._num_characters > LONGEST_RECORD_CHARACTERS:
            raise _BrokenRecordError("a quote in it is opened and never closed, or it is too long")
        return line.decode("utf-8", "surrogateescape")

    def record_done(self) -> int:
        """The number of the record's first line."""
        number = self.taken[0][0]
        self.taken, self._num_characters = [], 0
        return number

    def take_back(self) -> int:
        """The number of the record's first line; the others will come again."""
        self._again.extendleft(reversed(self.taken[1:]))
        return self.record_done()


def _records(feed: _Feed, delimiter: str) -> Iterator[_Record]:
    """Each record's first line, and its cells or what is wrong with it; blank lines are left out."""
    num_cells = 0
    while True:
        # Strict: a quote that ends in the middle of a cell may be the stray one of an earlier line.
        parser = csv.reader(feed, delimiter=delimiter, strict=True)
        try:
            for cells in parser:
                num_cells = num_cells or len(cells)
                if cells and len(cells) != num_cells:
                    yield feed.take_back(), f"number of cells: {len(cells)}, and {num_cells} in the header"
                    continue
                number = feed.record_done()
                if cells:
                    yield number, cells
        except (csv.Error, _BrokenRecordError) as error:
            yield feed.take_back(), _words(error)
        else:
            return


def _words(error: Exception) -> str:
    text = str(error)
    return next((words for start, words in _CSV_WORDS.items() if text.startswith(start)), text)


def _carried(cells: list[str], carry: list[tuple[str, int]]) -> str:
    return json.dumps({name: _text(cells[index]) for name, index in carry}, ensure_ascii=False)


def _text(cell: str) -> str:
    return cell if cell.isascii() else bytes_to_text(cell.encode("utf-8", "surrogateescape"))

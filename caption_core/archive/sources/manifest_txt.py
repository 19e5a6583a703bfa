"""Manifests of plain text: a path or an address a line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from caption_core.archive.sources.manifest_lines import LineFault, read_lines
from caption_core.archive.sources.manifest_rows import RowChunk, TextRow, WantedColumns, text_chunks


@dataclass(frozen=True, slots=True)
class TxtTable:
    """Every line that isn't blank is a path or an address, spaces included; there are no comments.

    Args:
        location: of the file.
    """

    location: str

    def columns(self) -> pa.Schema:
        """See `ManifestTable`: none."""
        return pa.schema([])

    def chunks(self, wanted: WantedColumns) -> Iterator[RowChunk]:
        """See `ManifestTable`."""
        return text_chunks(self._rows(), wanted)

    def _rows(self) -> Iterator[TextRow]:
        for number, line in read_lines(self.location):
            if isinstance(line, LineFault):
                yield TextRow(number, None, line.message)
            elif line.strip():
                yield TextRow(number, line.removesuffix(b"\n").removesuffix(b"\r"))

"""Manifests of JSON lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from caption_core.archive.sources.manifest_lines import LineFault, read_lines
from caption_core.archive.sources.manifest_rows import NO_PATH, RowChunk, TextRow, WantedColumns, text_chunks
from caption_core.errors import UsageError

# Objects at the beginning whose keys are the manifest's columns.
_FIRST_OBJECTS = 100


@dataclass(frozen=True, slots=True)
class JsonlTable:
    """Each line that isn't blank is an object; what it lacks of the columns is null.

    Args:
        location: of the file.
    """

    location: str

    def columns(self) -> pa.Schema:
        """See `ManifestTable`: the keys of the first 100 objects, but for those with half a Unicode character."""
        objects = (value for _, value in self._objects() if isinstance(value, dict))
        keys = dict.fromkeys(key for value in islice(objects, _FIRST_OBJECTS) for key in value)
        if not keys:
            raise UsageError(f"{self.location}: no line of it is a JSON object")
        return pa.schema([(key, pa.string()) for key in keys if _is_unicode(key)])

    def chunks(self, wanted: WantedColumns) -> Iterator[RowChunk]:
        """See `ManifestTable`."""
        rows = (_row(number, value, wanted) for number, value in self._objects())
        return text_chunks(rows, wanted)

    def _objects(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Each line's number, and its object or what is wrong with it."""
        for number, line in read_lines(self.location):
            if isinstance(line, LineFault):
                yield number, line.message
            elif line.strip():
                yield number, _parsed(line)


def _parsed(line: bytes) -> dict[str, Any] | str:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except (ValueError, RecursionError):
        return "it is not JSON"
    return value if isinstance(value, dict) else "it is no JSON object"


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _row(number: int, value: dict[str, Any] | str, wanted: WantedColumns) -> TextRow:
    if isinstance(value, str):
        return TextRow(number, None, value)
    path, fault = _path(value.get(wanted.path))
    image_id = _text(value.get(wanted.image_id)) if wanted.image_id else None
    return TextRow(number, path, fault, image_id, _carried(value, wanted.carry) if wanted.carry else None)


def _path(value: Any) -> tuple[bytes | None, str]:
    if value is None or value == "" or (isinstance(value, str) and not value.strip()):
        return None, NO_PATH
    if not isinstance(value, str):
        return None, "its path is no text"
    return (value.encode("utf-8"), "") if _is_unicode(value) else (None, "its path has half a Unicode character")


def _carried(value: dict[str, Any], carry: Sequence[str]) -> str:
    return json.dumps({key: _text(value.get(key)) for key in carry}, ensure_ascii=False)


def _text(value: Any) -> str | None:
    """A value as valid Unicode: text as it is, anything else as JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if text.isascii() else text.encode("utf-8", errors="backslashreplace").decode("utf-8")

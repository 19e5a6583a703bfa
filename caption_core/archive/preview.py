"""The first rows of a run as a table for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from caption_core.archive.parts import list_parts, read_rows
from caption_core.archive.storage import Storage

_COLUMNS = ("image_id", "caption", "score", "error_kind", "error_message")
_NAME_WIDTH = 40


def first_rows(output: Storage, num_rows: int) -> list[dict[str, object]]:
    """The first rows of a run's parts, in order."""
    rows: list[dict[str, object]] = []
    for shard_id in list_parts(output):
        if len(rows) >= num_rows:
            break
        rows += read_rows(output, shard_id, list(_COLUMNS)).slice(0, num_rows - len(rows)).to_pylist()
    return rows


def captions_table(rows: Sequence[dict[str, object]]) -> str:
    """Image, score and caption (or error) of each row, aligned."""
    cells = [("image", "score", "caption"), *map(_cells, rows)]
    names = max(_width(name) for name, _, _ in cells)
    return "\n".join(f"{_padded(name, names)}  {score:>6}  {text}".rstrip() for name, score, text in cells)


def printable(text: str) -> str:
    """Text without characters that could move the cursor, hide or reorder what is printed: those are escaped."""
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _cells(row: dict[str, object]) -> tuple[str, str, str]:
    name = _shortened(printable(str(row["image_id"])))
    if row["caption"] is None:
        return name, "", f"({row['error_kind']}: {printable(str(row['error_message']))})"
    return name, f"{row['score']:.2f}", printable(str(row["caption"]))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _shortened(name: str) -> str:
    # The end of a path tells images apart.
    return name if len(name) <= _NAME_WIDTH else "…" + name[-(_NAME_WIDTH - 1) :]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))


def _width(text: str) -> int:
    return sum(_character_widths(text))


def _character_widths(text: str) -> Iterator[int]:
    for character in text:
        if unicodedata.combining(character):
            yield 0
        else:
            yield 2 if unicodedata.east_asian_width(character) in "WF" else 1

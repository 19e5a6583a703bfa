"""A report's rows as files of tables: CSV, JSON, Parquet; and its readable tables as Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from compression.report.columns import Table
from compression.report.rows import Row

_FORMULA = ("=", "+", "-", "@", "\t", "\n")
_MARKUP = re.compile(r"[\\`*_~|#]|\](?=[(\[:])")


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All rows' columns, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(rows: Sequence[Row]) -> bytes:
    """Comma-separated in UTF-8, with a header; what a row lacks is empty."""
    text = io.StringIO()
    columns = columns_of(rows)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_plain(name) for name in columns])
    writer.writerows([[_plain(row.get(name)) for name in columns] for row in rows])
    return text.getvalue().encode()


def _plain(value: object) -> object:
    """A spreadsheet takes a text that begins so for a formula: a leading quotation mark keeps it a text."""
    if not isinstance(value, str):
        return value
    # The csv module quotes line feeds, but not lone carriage returns, which many readers end a row at.
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def as_json(rows: Sequence[Row]) -> bytes:
    """A list of objects, all with the same fields; what a row lacks, and what is no finite number, is null."""
    columns = columns_of(rows)
    finite = [{name: _finite(row.get(name)) for name in columns} for row in rows]
    return (json.dumps(finite, indent=1, allow_nan=False) + "\n").encode()


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_parquet(rows: Sequence[Row]) -> bytes:
    """One row group; what a row lacks is null."""
    table = pa.table({name: _array([row.get(name) for row in rows]) for name in columns_of(rows)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def _array(values: list[object]) -> pa.Array:
    """Of one type for sure: whole numbers become floats beside floats, and everything text beside a text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())  # type: ignore[arg-type]
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def as_markdown(table: Table) -> str:
    """A pipe table, its columns padded so that it can be read as it is."""
    lines = [[escape(cell) for cell in line] for line in (table.headings, *table.cells)]
    widths = [max(3, *(len(line[index]) for line in lines)) for index in range(len(table.headings))]
    head, *body = [[_padded(cell, widths[i], i) for i, cell in enumerate(line)] for line in lines]
    rule = [("-" * width if i == 0 else "-" * (width - 1) + ":") for i, width in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body)) + "\n"


def _padded(cell: str, width: int, index: int) -> str:
    return cell.ljust(width) if index == 0 else cell.rjust(width)


def escape(text: str) -> str:
    """A text that Markdown shows as it is, on one line: no markup, no HTML, no links."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\g<0>", line)

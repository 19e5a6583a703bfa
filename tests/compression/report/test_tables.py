import csv
import io
import json
import math
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compression.report.columns import Table
from compression.report.tables import as_csv, as_json, as_markdown, as_parquet, escape

ROWS: list[dict[str, Any]] = [
    {"variant": 'a, "b"\nc', "seed": 1, "rate": 1, "random_weights": False},
    {"variant": "é", "seed": 2, "rate": 2.5, "random_weights": True, "score": 0.25, "mixed": "x"},
    {"variant": "c", "seed": 3, "rate": None, "random_weights": False, "empty": None, "mixed": 2},
]
COLUMNS = ["variant", "seed", "rate", "random_weights", "score", "mixed", "empty"]


def parsed(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(rows).decode(), newline="")))


def test_csv_reads_back() -> None:
    found = parsed(ROWS)
    assert list(found[0]) == COLUMNS
    assert [row["variant"] for row in found] == [row["variant"] for row in ROWS]
    assert [row["rate"] for row in found] == ["1", "2.5", ""]
    assert [row["score"] for row in found] == ["", "0.25", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n=1"])
def test_a_text_that_a_spreadsheet_would_compute_stays_a_text(text: str) -> None:
    (row,) = parsed([{"variant": text, text: 1, "change": -0.5}])
    guarded = "'" + text.replace("\r", "\n")
    assert row["variant"] == guarded
    assert list(row)[1] == guarded
    assert row["change"] == "-0.5"


def test_json_has_every_field_in_every_row_and_no_number_that_json_lacks() -> None:
    found = json.loads(as_json([*ROWS, {"variant": "d", "rate": math.nan, "score": math.inf}]))
    assert all(list(row) == COLUMNS for row in found)
    assert found[1] == {**ROWS[1], "empty": None}
    assert (found[3]["rate"], found[3]["score"]) == (None, None)


def test_parquet_reads_back_with_one_type_a_column() -> None:
    table = pq.read_table(io.BytesIO(as_parquet(ROWS)))
    assert table.column_names == COLUMNS
    assert table["rate"].to_pylist() == [1.0, 2.5, None]
    assert table["mixed"].to_pylist() == [None, "x", "2"]
    assert table["empty"].to_pylist() == [None, None, None]
    types = {"seed": pa.int64(), "rate": pa.float64(), "random_weights": pa.bool_(), "mixed": pa.string()}
    assert {name: table.schema.field(name).type for name in types} == types


def test_a_markdown_table_has_a_cell_for_every_column() -> None:
    text = as_markdown(Table("t", ("variant", "size"), ("", ""), (("a|b\nc", "1.5"), ("longer than all", ""))))
    assert text.splitlines() == [
        "| variant         | size |",
        "| --------------- | ---: |",
        "| a\\|b c          |  1.5 |",
        "| longer than all |      |",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a_b *c* `d`", "a\\_b \\*c\\* \\`d\\`"),
        ("[x](http://e)", "[x\\](http://e)"),
        ("![x](http://e)", "![x\\](http://e)"),
        ("&lt;", "&amp;lt;"),
        ("+0.1 [-0.2, +0.3]", "+0.1 [-0.2, +0.3]"),
        ("CIDEr-D [95 %]", "CIDEr-D [95 %]"),
    ],
)
def test_markup_in_texts_is_shown_as_it_is(text: str, expected: str) -> None:
    assert escape(text) == expected

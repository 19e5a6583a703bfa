"""Carried columns of Parquet files: values of all types come out as they went in."""

from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.archive.sources.carry import carried_schema
from caption_core.archive.sources.parquet_carry import CarriedColumns
from caption_core.archive.sources.parquet_file import read_layout
from caption_core.errors import ImageError

NOON = datetime.datetime(2024, 5, 6, 12, 0, 0, 123_456)

COLUMNS: dict[str, pa.Array] = {
    "bool": pa.array([True, None, False]),
    "int8": pa.array([-1, None, 127], pa.int8()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "half": pa.array(np.array([1.5, 2.5, -1], np.float16)),
    "float": pa.array([0.1, None, float("inf")], pa.float32()),
    "decimal": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("-3.45")], pa.decimal128(10, 2)),
    "text": pa.array(["a", None, "żółw"]),
    "large_text": pa.array(["a", None, ""], pa.large_string()),
    "bytes": pa.array([b"a", None, b"\xff"]),
    "fixed": pa.array([b"abcd", None, b"\0\0\0\0"], pa.binary(4)),
    "date": pa.array([NOON.date(), None, NOON.date()]),
    "micros": pa.array([NOON, None, NOON], pa.timestamp("us", tz="Europe/Warsaw")),
    "nanos": pa.array([1_700_000_000_000_000_001, None, 1], pa.timestamp("ns")),
    "time": pa.array([123_456_789, None, 1], pa.time64("ns")),
    "duration": pa.array([123_456_789, None, 1], pa.duration("ns")),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int16())),
    "struct": pa.array([{"x": 1, "y": [{"z": "q"}]}, None, {"x": None, "y": None}]),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "nothing": pa.nulls(3),
}


def carried(folder: Path, columns: dict[str, pa.Array], rows: range) -> tuple[pa.Schema, dict[str, list[Any]]]:
    """The schema that a file's columns are carried in, and their values."""
    path = folder / "table.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=2)
    layout, carry = read_layout(str(path)), [(name, f"its_{name}") for name in columns]
    reader = CarriedColumns(str(path), layout.signature, carry)
    reader.announce(rows)
    values = [reader.values(row) for row in rows]
    reader.close()
    schema = carried_schema(str(path), layout.schema, carry)
    return schema, {name: [value[name] for value in values] for name in schema.names}


@pytest.mark.parametrize("name", COLUMNS)
def test_values_of_every_type_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    schema, values = carried(tmp_path, {name: COLUMNS[name]}, range(3))
    assert schema.field(0).type == COLUMNS[name].type
    assert pa.array(values[f"its_{name}"], schema.field(0).type).equals(COLUMNS[name])


def test_all_of_them_together_make_a_table(tmp_path: Path) -> None:
    schema, values = carried(tmp_path, COLUMNS, range(3))
    rows = [{name: column[row] for name, column in values.items()} for row in range(3)]
    table = pa.Table.from_pylist(rows, schema=schema)
    assert table.equals(pa.table(list(COLUMNS.values()), schema=schema))


def test_simple_values_are_those_of_python(tmp_path: Path) -> None:
    _, values = carried(tmp_path, {name: COLUMNS[name] for name in ("int8", "text", "bytes", "bool")}, range(3))
    assert values == {
        "its_int8": [-1, None, 127],
        "its_text": ["a", None, "żółw"],
        "its_bytes": [b"a", None, b"\xff"],
        "its_bool": [True, None, False],
    }


def test_dictionaries_come_out_as_their_values(tmp_path: Path) -> None:
    schema, values = carried(tmp_path, {"d": pa.array(["x", None, "x"]).dictionary_encode()}, range(3))
    assert (schema.field(0).type, values) == (pa.string(), {"its_d": ["x", None, "x"]})


def test_views_come_out_plain(tmp_path: Path) -> None:
    columns = {"t": pa.array(["x", None], pa.string_view()), "b": pa.array([b"\xff", None], pa.binary_view())}
    schema, values = carried(tmp_path, columns, range(2))
    assert schema.types == [pa.large_string(), pa.large_binary()]
    assert values == {"its_t": ["x", None], "its_b": [b"\xff", None]}


def test_text_that_is_not_utf8_is_written_out(tmp_path: Path) -> None:
    offsets = pa.array([0, 4], pa.int32()).buffers()[1]
    column = pa.StringArray.from_buffers(1, offsets, pa.py_buffer(b"caf\xe9"))
    _, values = carried(tmp_path, {"t": column}, range(1))
    assert values == {"its_t": [r"caf\xe9"]}


def test_values_of_a_file_that_is_gone_are_not_taken_for_missing(tmp_path: Path) -> None:
    reader = CarriedColumns(str(tmp_path / "nowhere.parquet"), "", [("a", "b")])
    reader.announce([0])
    with pytest.raises(ImageError, match="not there any more"):
        reader.values(0)


def test_nothing_is_opened_where_nothing_is_carried(tmp_path: Path) -> None:
    reader = CarriedColumns(str(tmp_path / "nowhere.parquet"), "", [])
    reader.announce([0])
    assert reader.values(0) == {}

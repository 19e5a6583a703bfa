"""Columns that are carried along: their types, and names that are taken."""

from __future__ import annotations

import pyarrow as pa
import pytest

from caption_core.archive.sources.carry import carried_schema
from caption_core.errors import UsageError
from caption_core.records import OUTPUT_SCHEMA

COLUMNS = pa.schema(
    [
        pa.field("label", pa.int64(), nullable=False),
        pa.field("split", pa.dictionary(pa.int8(), pa.string())),
        pa.field("caption", pa.string()),
    ]
)


def test_types_stay_and_everything_may_be_null() -> None:
    schema = carried_schema("f", COLUMNS, [("split", "split"), ("label", "y"), ("label", "z")])
    assert schema == pa.schema([("split", pa.string()), ("y", pa.int64()), ("z", pa.int64())])
    assert all(field.nullable for field in schema)


def test_a_column_must_be_there() -> None:
    with pytest.raises(UsageError, match=r"f: no column 'size' among label \(int64\), split"):
        carried_schema("f", COLUMNS, [("size", "size")])


@pytest.mark.parametrize("name", OUTPUT_SCHEMA.names)
def test_names_of_the_output_are_taken(name: str) -> None:
    with pytest.raises(UsageError, match=f"own; carry 'label' along under another name, such as label=source_{name}$"):
        carried_schema("f", COLUMNS, [("label", name)])
    assert carried_schema("f", COLUMNS, [("caption", "source_caption")]).names == ["source_caption"]


def test_two_columns_can_not_get_one_name() -> None:
    with pytest.raises(UsageError, match="two columns are to be carried along as 'x'"):
        carried_schema("f", COLUMNS, [("label", "x"), ("split", "x")])

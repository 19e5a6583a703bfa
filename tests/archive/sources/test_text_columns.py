"""Columns of all kinds as text."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.sources.file_names import text_to_name
from caption_core.archive.sources.text_columns import (
    bytes_to_text,
    can_be_text,
    column_to_text,
    is_bytes,
    is_text,
    null_where_empty,
    plain_column,
    plain_type,
)

TEXT_TYPES = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
VALUES = ["a", None, "żółw", ""]


def raw_text(values: list[bytes]) -> pa.Array:
    """A text column of bytes that nobody checked, as Parquet files may hold them."""
    lengths = [0]
    for value in values:
        lengths.append(lengths[-1] + len(value))
    offsets = pa.array(lengths, pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(len(values), offsets, pa.py_buffer(b"".join(values)))


@pytest.mark.parametrize("kind", TEXT_TYPES, ids=str)
def test_text_is_text_in_whatever_form(kind: pa.DataType) -> None:
    assert is_text(kind)
    column = pa.array(VALUES).cast(kind)
    assert column_to_text(column).equals(pa.array(VALUES, pa.large_string()))
    assert column_to_text(column.slice(1, 2)).to_pylist() == [None, "żółw"]


def test_views_are_text_too() -> None:
    column = pa.array(VALUES, pa.string_view())
    assert is_text(column.type)
    if can_be_text(column.type):  # the oldest PyArrow can't cast them, nor read them from Parquet files
        assert column_to_text(column).to_pylist() == VALUES


def test_bytes_are_not_text_and_text_is_not_bytes() -> None:
    assert [is_bytes(kind) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())] == [True] * 3
    assert not any(is_text(kind) for kind in (pa.binary(), pa.int8(), pa.list_(pa.string()), pa.null()))
    assert not any(is_bytes(kind) for kind in (pa.string(), pa.binary(4), pa.list_(pa.uint8())))


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pa.array([12, None], pa.int64()), "12"),
        (pa.array([True]), "true"),
        (pa.array([b"abc"], pa.binary()), "abc"),
        (pa.array([datetime.date(2024, 5, 6)]), "2024-05-06"),
        (pa.array([7, 7]).dictionary_encode(), "7"),
    ],
)
def test_simple_values_become_text(column: pa.Array, text: str) -> None:
    assert can_be_text(column.type)
    assert column_to_text(column)[0].as_py() == text
    assert column_to_text(column).type == pa.large_string()


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.struct([("a", pa.int8())])], ids=str)
def test_nested_values_do_not(kind: Any) -> None:
    assert not can_be_text(kind)


@given(st.lists(st.binary(max_size=6), max_size=5))
def test_bytes_that_are_not_utf8_are_written_out(values: list[bytes]) -> None:
    texts = column_to_text(raw_text(values))
    texts.validate(full=True)
    for value, text in zip(values, texts.to_pylist(), strict=True):
        assert text == bytes_to_text(value)
        assert value == (text.encode() if is_utf8(value) else text_to_name(text))


def is_utf8(value: bytes) -> bool:
    return value.decode("utf-8", "replace").encode() == value


def test_empty_texts_become_null() -> None:
    assert null_where_empty(pa.array(["", "a", None], pa.large_string())).to_pylist() == [None, "a", None]


def test_dictionaries_and_extensions_have_plain_types() -> None:
    assert plain_type(pa.dictionary(pa.int8(), pa.string())) == pa.string()
    assert plain_type(pa.fixed_shape_tensor(pa.int8(), [2])) == pa.list_(pa.int8(), 2)
    assert plain_type(pa.list_(pa.int8())) == pa.list_(pa.int8())


@pytest.mark.parametrize(
    ("views", "plain"), [(pa.string_view(), pa.large_string()), (pa.binary_view(), pa.large_binary())], ids=str
)
def test_views_become_plain(views: pa.DataType, plain: pa.DataType) -> None:
    column = pa.array(VALUES, pa.string()).cast(views)
    assert plain_type(views) == plain
    assert plain_column(column).equals(pa.array(VALUES, pa.string()).cast(plain))

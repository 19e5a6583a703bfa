"""Columns of any simple type as text that is always valid UTF-8."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from caption_core.archive.sources.file_names import name_to_text


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are text, in whatever form they are stored."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return _is_one_of(kind, "is_string", "is_large_string", "is_string_view")


def is_bytes(kind: pa.DataType) -> bool:
    """Whether values of a type are bytes of any length."""
    return _is_one_of(kind, "is_binary", "is_large_binary", "is_binary_view")


def can_be_text(kind: pa.DataType) -> bool:
    """Whether `column_to_text` takes columns of a type."""
    try:
        column_to_text(pa.nulls(1, kind))
    except (pa.ArrowException, ValueError):
        return False
    return True


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values, without dictionaries and extensions around them; views, which PyArrow can't take rows
    of, become large text and bytes."""
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if _is_one_of(kind, "is_string_view"):
        return pa.large_string()
    return pa.large_binary() if _is_one_of(kind, "is_binary_view") else kind


def plain_column(column: pa.Array) -> pa.Array:
    """A column in its `plain_type`."""
    if isinstance(column, pa.ExtensionArray):
        return plain_column(column.storage)
    if pa.types.is_dictionary(column.type):
        return plain_column(column.dictionary_decode())
    kind = plain_type(column.type)
    return column if kind == column.type else column.cast(kind)


def column_to_text(column: pa.Array) -> pa.Array:
    r"""Values as text; nulls stay null, and bytes that aren't UTF-8 are written ``\xNN``.

    Args:
        column: of text, bytes, numbers, times or truth values.

    Returns:
        large_string, of the same length.

    Raises:
        ValueError: its type has no text form.
        pyarrow.ArrowException: likewise.
    """
    column = plain_column(column)
    if not is_text(column.type) and not is_bytes(column.type):
        return column.cast(pa.large_string())
    raw = column.cast(pa.large_binary())
    try:
        # From text, Arrow would take the bytes as they are; from bytes it checks them.
        return raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        texts = [None if value is None else bytes_to_text(value) for value in raw.to_pylist()]
        return pa.array(texts, pa.large_string())


def null_where_empty(texts: pa.Array) -> pa.Array:
    """Texts, large_string, with nulls in place of empty ones."""
    return pc.if_else(pc.equal(texts, pa.scalar("", texts.type)), pa.scalar(None, texts.type), texts)


def bytes_to_text(data: bytes) -> str:
    r"""UTF-8 as it is, what isn't UTF-8 with ``\xNN`` in place of the bytes at fault."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return name_to_text(data)


def _is_one_of(kind: pa.DataType, *checks: str) -> bool:
    # Views came to PyArrow after the oldest version that is supported.
    functions: list[Callable[[pa.DataType], bool] | None] = [getattr(pa.types, check, None) for check in checks]
    return any(function is not None and function(kind) for function in functions)

"""Columns of an input that the user wants beside the captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from caption_core.archive.sources.column_choice import the_field
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.text_columns import plain_type
from caption_core.errors import UsageError
from caption_core.records import OUTPUT_SCHEMA


def with_columns_that_are_there(options: InputOptions, columns: pa.Schema) -> InputOptions:
    """The same options, without carried columns that an input lacks, where it may lack them."""
    if not options.carry_where_there:
        return options
    return replace(options, carry=tuple(pair for pair in options.carry if pair[0] in columns.names))


def carried_schema(location: str, columns: pa.Schema, carry: Sequence[tuple[str, str]]) -> pa.Schema:
    """The carried columns as they come out: in their types, though dictionaries and extension types become plain ones.

    Args:
        location: of the input, for messages.
        columns: that it has.
        carry: (column, the name it gets in the output) as the user chose them.

    Raises:
        UsageError: a column isn't there, or two columns of the output would have the same name.
    """
    check_output_names(location, carry)
    types = {column: plain_type(the_field(location, columns, column).type) for column, _ in carry}
    return pa.schema([pa.field(name, types[column], nullable=True) for column, name in carry])


def check_output_names(location: str, carry: Sequence[tuple[str, str]]) -> None:
    """See to it that carried columns get names that are free.

    Raises:
        UsageError: one isn't.
    """
    names = [name for _, name in carry]
    for column, name in carry:
        if name in OUTPUT_SCHEMA.names:
            raise UsageError(
                f"{location}: the output has a column {name!r} of its own; carry {column!r} along under another name, "
                f"such as {column}=source_{name}"
            )
        if names.count(name) > 1:
            raise UsageError(f"{location}: two columns are to be carried along as {name!r}")

"""Which of an input's columns are meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from caption_core.archive.sources.text_columns import can_be_text, is_bytes, is_text
from caption_core.errors import UsageError

PATH_COLUMNS = (
    "uri",
    "url",
    "path",
    "file",
    "file_name",
    "filename",
    "file_path",
    "filepath",
    "image_uri",
    "image_url",
    "image_path",
    "image_file",
    "image",
    "img_url",
    "img_path",
    "img",
)
"""Names, in any case, of columns that hold paths or addresses where the user names none."""

_SHOWN_COLUMNS = 40


def image_field(location: str, schema: pa.Schema, named: str | None) -> pa.Field:
    """The column of images: of bytes, or of structs with `bytes` in them.

    Args:
        location: of the file, for messages.
        schema: of the file.
        named: by the user; None to find the only one there is.

    Raises:
        UsageError: there is none, or more than one, or the one that is named holds something else.
    """
    if named is not None:
        field = the_field(location, schema, named)
        if not may_hold_images(field.type):
            raise UsageError(f"{location}: column {named!r} holds {field.type}, no image bytes")
        return field
    found = [field for field in schema if may_hold_images(field.type)]
    if not found:
        raise UsageError(f"{location}: no column of image bytes among {_described(schema)}")
    if len(found) > 1:
        names = _shown(field.name for field in found)
        raise UsageError(f"{location}: which column holds the images? Name one of {names}")
    return the_field(location, schema, found[0].name)


def path_field(location: str, schema: pa.Schema, named: str | None) -> pa.Field:
    """The column of paths and addresses.

    Args:
        location: of the manifest, for messages.
        schema: of the manifest.
        named: by the user; None for the first of `PATH_COLUMNS` that is there.

    Raises:
        UsageError: there is none, or the one that is named holds something else.
    """
    if named is None:
        places = {field.name.lower(): field for field in reversed(list(schema)) if is_text(field.type)}
        named = next((places[name].name for name in PATH_COLUMNS if name in places), None)
    if named is None:
        raise UsageError(f"{location}: which column holds paths or addresses? There are {_described(schema)}")
    field = the_field(location, schema, named)
    if not is_text(field.type):
        raise UsageError(f"{location}: column {named!r} holds {field.type}, no paths or addresses")
    return field


def may_hold_images(kind: pa.DataType) -> bool:
    """Whether a column's type is that of image bytes, or of the structs in which Hugging Face datasets put them."""
    return is_bytes(kind) or _has_child(kind, "bytes", is_bytes)


def has_paths(kind: pa.DataType) -> bool:
    """Whether a column's type is that of structs with a text `path` in them."""
    return _has_child(kind, "path", is_text)


def the_field(location: str, schema: pa.Schema, name: str) -> pa.Field:
    """A column by its name.

    Raises:
        UsageError: there is none, or more than one.
    """
    number = schema.names.count(name)
    if number == 0:
        raise UsageError(f"{location}: no column {name!r} among {_described(schema)}")
    if number > 1:
        raise UsageError(f"{location}: {number} columns are named {name!r}")
    return schema.field(name)


def check_id_column(location: str, schema: pa.Schema, named: str | None) -> None:
    """See to it that the column that the user wants ids from has values that can be ids.

    Raises:
        UsageError: it isn't there, or doesn't.
    """
    if named is not None and not can_be_text(kind := the_field(location, schema, named).type):
        raise UsageError(f"{location}: column {named!r} holds {kind}, which can't be ids")


def _has_child(kind: pa.DataType, name: str, check: Callable[[pa.DataType], bool]) -> bool:
    return pa.types.is_struct(kind) and any(child.name == name and check(child.type) for child in kind)


def _described(schema: pa.Schema) -> str:
    return _shown(f"{field.name} ({field.type})" for field in schema)


def _shown(names: Iterable[str]) -> str:
    texts = list(names)
    rest = f" and {len(texts) - _SHOWN_COLUMNS:,} more" if len(texts) > _SHOWN_COLUMNS else ""
    return (", ".join(texts[:_SHOWN_COLUMNS]) + rest) or "none at all"

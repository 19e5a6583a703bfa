"""Reading JSON of a known form: a wrong form is one line that names the file and the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from caption_core.errors import UsageError

Kind = TypeVar("Kind")


def load_json(path: Path) -> object:
    """Parse a JSON file.

    Raises:
        UsageError: it can't be read, or isn't JSON.
    """
    try:
        parsed: object = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    return parsed


def take(record: object, key: str, kind: type[Kind], path: Path, place: str) -> Kind:
    """`record[key]`, checked to be of the given kind.

    Raises:
        UsageError: the record is no object, or has no such value.
    """
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise UsageError(f"{path}: {place} has no proper {key!r}")
    return value


def take_id(record: object, key: str, path: Path, place: str) -> str:
    """`record[key]`, an image's number or name, as text. Raises as `take` does."""
    value = record.get(key) if isinstance(record, dict) else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return take(record, key, str, path, place)

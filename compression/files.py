"""Writing files whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file under a temporary name and move it into place; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own, so that two processes that write the same file don't move each other's half.
    temporary = path.with_name(f"_{secrets.token_hex(8)}.partial")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write_bytes` of a text in UTF-8."""
    return write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> Path:
    """`write_bytes` of a value as JSON."""
    return write_text(path, json.dumps(value, indent=1) + "\n")

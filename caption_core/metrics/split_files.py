"""Reading a split that is a file of image names."""

from __future__ import annotations

from pathlib import Path

from caption_core.errors import UsageError


def read_split(path: Path) -> tuple[str, ...]:
    """Read a split file: one image name a line, blank lines ignored.

    Raises:
        UsageError: the file can't be read, is empty or names an image twice.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"split {path}: {error}") from error
    if not names:
        raise UsageError(f"split {path}: the file names no image")
    if len(set(names)) != len(names):
        raise UsageError(f"split {path}: an image is named twice")
    return names

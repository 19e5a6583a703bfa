"""Glob patterns for paths below a folder or a prefix.

`*` stands for any characters but a slash, `?` for one of them, `[abc]`, `[a-z]` and `[!a]` for one of a set, and `**`
as a whole part of the path for any number of folders, none included. A pattern names files: one that ends in `**`, or
in a slash, names all files below. To mean a special character itself, write it in brackets: `[*]`.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable

from pyarrow.fs import FileType

from caption_core.archive.storage import check_no_keys, is_remote, open_file_system
from caption_core.archive.store_errors import cause_of
from caption_core.errors import UsageError

_SPECIAL = re.compile(r"[*?\[]")
_ANY_FOLDERS = "**"


class Pattern:
    """Matches relative paths with forward slashes.

    Args:
        text: the pattern, relative as well.
    """

    def __init__(self, text: str) -> None:
        parts = [part for part in text.split("/") if part]
        if text.endswith("/"):
            parts.append(_ANY_FOLDERS)
        if parts[-1:] == [_ANY_FOLDERS]:
            parts.append("*")
        if not parts or "." in parts or ".." in parts:
            raise UsageError(f"{text!r}: not a pattern for paths below a folder")
        # A part's matcher; None stands for any number of folders.
        self._parts = [None if part == _ANY_FOLDERS else _matcher(part) for part in parts]

    def matches(self, path: str) -> bool:
        """Whether a file's path fits."""
        return len(self._parts) in self._reached(path)

    def may_hold(self, folder: str) -> bool:
        """Whether paths that fit may lie below a folder; a folder that can't hold any need not be listed."""
        return any(number < len(self._parts) for number in self._reached(folder))

    def _reached(self, path: str) -> set[int]:
        """How many of the pattern's parts the whole path may stand for: all ways at once, so that none costs more."""
        reached = self._passed_over({0})
        for name in path.split("/"):
            stepped = {number + 1 for number in reached if self._fits(number, name)}
            stayed = {number for number in reached if number < len(self._parts) and self._parts[number] is None}
            reached = self._passed_over(stepped | stayed)
        return reached

    def _fits(self, number: int, name: str) -> bool:
        part = self._parts[number] if number < len(self._parts) else None
        return part is not None and part(name) is not None

    def _passed_over(self, reached: set[int]) -> set[int]:
        """With those added that `**` reaches by standing for no folder."""
        for number in range(len(self._parts)):
            if number in reached and self._parts[number] is None:
                reached = reached | {number + 1}
        return reached


def split_pattern(location: str) -> tuple[str, str | None]:
    """Split 'photos/2019-*/**/*.jpg' into the folder 'photos' and the pattern '2019-*/**/*.jpg'.

    Works for addresses of object stores too. What exists under exactly this name is no pattern.

    Returns:
        The folder or prefix, and the pattern; None where there is none.

    Raises:
        UsageError: a pattern that can't be read, or in place of a bucket; an address that can't be looked up.
    """
    if is_remote(location):
        check_no_keys(location)  # before anything repeats it
    top, rest = _split_top(location)
    if _SPECIAL.search(top):
        raise UsageError(f"{location}: a pattern can't stand for a bucket")
    special = _SPECIAL.search(rest)
    if special is None or _exists(location):
        return location, None
    folder, slash, _ = rest[: special.start()].rpartition("/")
    pattern = rest[len(folder) + len(slash) :]
    Pattern(pattern)
    return (top + folder or slash or ".").rstrip("/") or "/", pattern


def _split_top(location: str) -> tuple[str, str]:
    """The part of an address that patterns leave alone (s3://bucket/), and the rest; of a path, nothing and all."""
    if not is_remote(location):
        return "", location
    scheme, _, rest = location.partition("://")
    bucket, slash, key = rest.partition("/")
    return f"{scheme}://{bucket}{slash}", key


def _exists(location: str) -> bool:
    if not is_remote(location):
        return os.path.lexists(location)
    file_system, path = open_file_system(location)
    try:
        return bool(file_system.get_file_info(path).type != FileType.NotFound)
    except OSError as error:
        raise UsageError(f"{location}: can't be looked up: {cause_of(error)}") from error


def _matcher(part: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(part)).match

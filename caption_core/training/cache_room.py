"""Room on the disk for cached features: what was used longest ago gives way, as long as nobody uses it now."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from caption_core.errors import CapstanError

_FULL = {errno.ENOSPC, errno.EDQUOT}


def lock_of(path: Path) -> str:
    """The lock file of a cache, held by who makes it, opens it or removes it."""
    return f"{path.with_suffix('.npy')}.lock"


def hold(path: Path) -> BinaryIO:
    """Open a cache for use: as long as the file is open, no process on this machine removes it for room.

    To be called under its lock.
    """
    file = path.open("rb")
    with suppress(OSError):  # a file system that knows no locks, or files of somebody else's
        fcntl.flock(file, fcntl.LOCK_SH)
        os.utime(path)
    return file


def reserve(path: Path, log: Callable[[str], None]) -> None:
    """Give a sparse file all of its blocks now: a full disk ends the process that writes to a memory map of it.

    Where there are too few, caches beside it are removed, and what is left of those that were never finished.

    Raises:
        CapstanError: there are none left to remove. The file is removed, too.
    """
    while not _allocated(path):
        others = sorted(
            {*path.parent.glob("features-*.npy"), *path.parent.glob("features-*.partial")} - {path}, key=_used
        )
        removed = next((other for other in others if _remove(other)), None)
        if removed is None:
            size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
            path.unlink()
            raise CapstanError(
                f"{path.parent}: no room for {size / 1e9:.2f} GB of encoder features ({free / 1e9:.2f} GB are free): "
                "name another folder with --cache, or take fewer views"
            )
        log(f"features: removed {removed.name}, unused for the longest time, to make room")


def _allocated(path: Path) -> bool:
    """Whether there was room."""
    if not hasattr(os, "posix_fallocate"):
        return True  # nobody can tell
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno in _FULL:
                return False
            if error.errno != errno.EOPNOTSUPP:  # of a file system that can't tell either
                raise
    return True


def _used(path: Path) -> float:
    """When a cache was last used, in seconds since the epoch."""
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _remove(path: Path) -> bool:
    """Remove a cache unless somebody makes, opens or uses it; returns whether it did."""
    try:
        with FileLock(lock_of(path), timeout=0), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except (Timeout, OSError):
        return False
    return True

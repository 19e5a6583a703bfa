"""Room on the disk for cached features: what was used longest ago gives way, as long as nobody uses it now."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from caption_core.errors import CapstanError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_BLOCK_BYTES = 512  # of what stat counts


def lock_of(path: Path) -> str:
    """The lock file of a cache, held by who makes it, opens it or removes it."""
    return f"{path.with_suffix('.npy')}.lock"


def hold(path: Path) -> BinaryIO:
    """Open a cache for use: as long as the file is open, no process on this machine removes it for room.

    To be called under its lock.
    """
    file = path.open("rb")
    with suppress(OSError):  # files of somebody else's
        os.utime(path)
    with suppress(OSError):  # a file system that knows no locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


def make_room(folder: Path, num_bytes: int, log: Callable[[str], None]) -> None:
    """See to it that a disk has so many free bytes: caches in its folder go, first those that were never finished.

    Raises:
        CapstanError: without those that are in use there are too few. Nothing is removed then.
    """
    if num_bytes <= shutil.disk_usage(folder).free:
        return
    with ExitStack() as locks:
        unused = [path for path in _caches(folder) if _is_unused(path, locks)]
        sizes = [path.stat().st_blocks * _BLOCK_BYTES for path in unused]
        free = shutil.disk_usage(folder).free
        if free + sum(sizes) < num_bytes:
            raise _no_room(folder, num_bytes, free)
        for path, size in zip(unused, sizes, strict=True):
            if free >= num_bytes:
                break
            path.unlink()
            free += size
            log(f"features: removed {path.name}, which nobody uses, to make room")


def allocate(path: Path) -> None:
    """Give a sparse file all of its blocks: a full disk ends the process that writes to a memory map of it.

    Raises:
        CapstanError: there is no room for them.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        size, free = path.stat().st_size, shutil.disk_usage(path.parent).free
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno in _FULL:  # a quota, or others were quicker
                raise _no_room(path.parent, size, free) from error
            if error.errno != errno.EOPNOTSUPP:
                raise


def _no_room(folder: Path, num_bytes: int, free: int) -> CapstanError:
    return CapstanError(
        f"{folder}: no room for {num_bytes / 1e6:,.1f} MB of encoder features, {free / 1e6:,.1f} MB are free: "
        "name another folder with --cache, or take fewer views"
    )


def _caches(folder: Path) -> list[Path]:
    """Of all, in the order in which they may go."""
    found = [*folder.glob("features-*.partial"), *folder.glob("features-*.npy")]
    return sorted(found, key=lambda path: (path.suffix == ".npy", _used(path)))


def _used(path: Path) -> float:
    """When a cache was last used, in seconds since the epoch."""
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _is_unused(path: Path, locks: ExitStack) -> bool:
    """Whether nobody makes, opens or uses a cache; nobody can until the locks are given back."""
    with ExitStack() as own:
        try:
            own.enter_context(FileLock(lock_of(path), timeout=0))
            file = own.enter_context(path.open("r+b"))  # network file systems lock what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (Timeout, OSError):
            return False
        locks.push(own.pop_all())
        return True

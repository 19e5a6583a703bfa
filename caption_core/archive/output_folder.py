"""The folder that a run writes to: made, checked, and held by one run at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from caption_core.archive.parts import list_parts, remove_temporaries, shard_id_of
from caption_core.archive.run_record import HUGGING_FACE_CARD, STATE_FOLDER, state_folder
from caption_core.archive.storage import Storage, is_remote
from caption_core.errors import UsageError

_LOCK = "lock"
REPORT_FOLDER = "_report"
SUCCESS = "_SUCCESS"


def check_apart(sources: Sequence[str], output: Storage) -> None:
    """See to it that neither an input lies in the output folder, nor that in an input folder.

    Raises:
        UsageError: they overlap: a run would list its own products, or a reader of the captions meet images.
    """
    ours = Path(_comparable(output.location))
    for source in sources:
        theirs = Path(_comparable(source))
        if ours == theirs or ours in theirs.parents or theirs in ours.parents:
            raise UsageError(f"{output}: the output folder and the input {source} must not lie in one another")


@contextmanager
def held_output_folder(output: Storage) -> Iterator[None]:
    """Make the folder where it is missing, keep other runs out of it, and clear what a killed run left half-written.

    The lock goes with the process that holds it, however that ends. Object stores and file systems without locks are
    used without one: two runs with equal settings write equal parts there, and two with different ones refuse.

    Raises:
        UsageError: the folder can't be written, is in use by another run or holds Parquet files that no run wrote.
    """
    is_new = not output.is_there()
    try:
        state_folder(output).make()
        descriptor = _open_lock(output)
    except OSError as error:
        cause = error.strerror or str(error).splitlines()[0]
        raise UsageError(f"{output}: can't write here: {cause}") from error
    try:
        if descriptor is not None and not _lock(descriptor):
            raise UsageError(f"{output}: another run is writing here")
        _check_foreign(output)
        remove_temporaries(output)
        yield
    except UsageError:
        if is_new:
            _unmake(output)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_held(output: Storage) -> bool:
    """Whether a run holds the folder at this moment, as far as the file system tells."""
    folder = output.local_folder
    try:
        descriptor = os.open(folder / STATE_FOLDER / _LOCK, os.O_RDWR | os.O_CLOEXEC) if folder else None
    except OSError:
        return False
    if descriptor is None:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def clear_output(output: Storage) -> None:
    """Delete what runs wrote into a folder, finished or not, and nothing else."""
    # First what says that it is finished.
    output.delete(SUCCESS)
    for name in list_parts(output).values():
        output.delete(name)
    output.delete(HUGGING_FACE_CARD)
    output.sub(REPORT_FOLDER).delete_all()


def _unmake(output: Storage) -> None:
    """A wrong argument leaves no new folder behind."""
    state_folder(output).delete_all()
    if output.local_folder is not None:
        with suppress(OSError):
            output.local_folder.rmdir()


def _open_lock(output: Storage) -> int | None:
    if output.local_folder is None:
        return None
    return os.open(output.local_folder / STATE_FOLDER / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lock(descriptor: int) -> bool:
    """Whether nobody else holds the lock; where file systems have none, nobody does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _check_foreign(output: Storage) -> None:
    for name in output.names():
        if name.endswith(".parquet") and not name.startswith(("_", ".")) and shard_id_of(name) is None:
            raise UsageError(f"{output}/{name}: a Parquet file that is no captioning run's; choose an empty folder")


def _comparable(location: str) -> str:
    return location if is_remote(location) else str(Path(location).resolve())

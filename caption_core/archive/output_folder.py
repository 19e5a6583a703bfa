"""The folder that a run writes to: made, checked, and held by one run at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from caption_core.archive.parts import list_parts, shard_id_of
from caption_core.archive.run_progress import read_progress
from caption_core.archive.run_record import HUGGING_FACE_CARD, STATE_FOLDER, read_record, state_folder
from caption_core.archive.storage import Storage, is_remote
from caption_core.archive.store_errors import cause_of
from caption_core.errors import UsageError

_LOCK = "lock"
_LOCK_PATIENCE_S = 1.0  # somebody who asks for a run's status holds it for an instant
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

    The lock goes with the process that holds it, however that ends. An object store has none: there a run is taken to
    be at work as long as its driver told so within the last minute, unless it is known to be gone.

    Raises:
        UsageError: the folder can't be written, is in use by another run or holds Parquet files that no run wrote.
    """
    try:
        is_new = not output.is_there()
        state_folder(output).make()
        descriptor = _open_lock(output)
    except OSError as error:
        raise UsageError(f"{output}: can't write here: {cause_of(error)}") from error
    try:
        if not _is_ours(output, descriptor):
            raise UsageError(f"{output}: another run is writing here")
        with _unmade_on_wrong_usage(output, is_new):
            _check_foreign(output)
            for folder in (output, state_folder(output), output.sub(REPORT_FOLDER)):
                folder.remove_temporaries()
            yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def is_held(output: Storage) -> bool:
    """Whether a run holds the folder at this moment, as far as the file system tells."""
    folder = output.local_folder
    try:
        descriptor = os.open(folder / STATE_FOLDER / _LOCK, os.O_RDONLY | os.O_CLOEXEC) if folder else None
    except OSError:
        return False
    if descriptor is None:
        return False
    try:
        # Shared, so that those who only look are in nobody's way but a starting run's, which tries for a moment.
        return not _locks(descriptor, fcntl.LOCK_SH)
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


@contextmanager
def _unmade_on_wrong_usage(output: Storage, is_new: bool) -> Iterator[None]:
    """A wrong argument leaves no new folder behind; once a run's record is written it has begun, and stays."""
    try:
        yield
    except UsageError:
        if is_new and read_record(output) is None:
            state_folder(output).delete_all()
            if output.local_folder is not None:
                with suppress(OSError):
                    output.local_folder.rmdir()
        raise


def _open_lock(output: Storage) -> int | None:
    if output.local_folder is None:
        return None
    return os.open(output.local_folder / STATE_FOLDER / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _is_ours(output: Storage, descriptor: int | None) -> bool:
    """Whether no other run writes here: by the lock, or, in an object store, by what a driver last told of itself."""
    if descriptor is None:
        progress = read_progress(state_folder(output))
        return progress is None or not progress.is_alive
    end_s = time.monotonic() + _LOCK_PATIENCE_S
    while not _locks(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def _locks(descriptor: int, kind: int) -> bool:
    """Whether the lock can be had; where file systems have none, it can."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
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

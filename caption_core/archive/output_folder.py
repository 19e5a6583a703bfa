"""The folder that a run writes to: made, checked, and held by one run at a time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from caption_core.archive.parts import remove_temporaries, shard_id_of
from caption_core.archive.run_state import RunIdentity
from caption_core.errors import CapstanError, UsageError

# Readers of Parquet folders pass over names that start with an underscore.
STATE_FOLDER = "_run"
_LOCK = "lock"
_RUN = "run.json"


def check_apart(source: Path, output: Path) -> None:
    """See to it that neither folder lies in the other.

    Raises:
        UsageError: they overlap: a run would list its own products, or a reader of the captions meet images.
    """
    source, output = source.resolve(), output.resolve()
    if source == output or source in output.parents or output in source.parents:
        raise UsageError(f"{output}: the output folder and the input folder {source} must not lie in one another")


@contextmanager
def held_output_folder(folder: Path) -> Iterator[None]:
    """Make the folder where it is missing, keep other runs out of it, and clear what a killed run left half-written.

    The lock goes with the process that holds it, however that ends. File systems without locks are used without one.

    Raises:
        UsageError: the folder can't be written, is in use by another run or holds Parquet files that no run wrote.
    """
    try:
        (folder / STATE_FOLDER).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / STATE_FOLDER / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"{folder}: can't write here: {error.strerror}") from error
    try:
        _lock(descriptor, folder)
        _check_foreign(folder)
        remove_temporaries(folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(f"{folder}: another run is writing here") from error
    except OSError:
        return


def _check_foreign(folder: Path) -> None:
    for path in sorted(folder.glob("*.parquet")):
        if not path.name.startswith(("_", ".")) and shard_id_of(path.name) is None:
            raise UsageError(f"{path}: a Parquet file that is no captioning run's; choose an empty output folder")


def write_run_record(folder: Path, identity: RunIdentity) -> None:
    """Write down what the run is, for people and for `check_shared`."""
    path = folder / STATE_FOLDER / _RUN
    record = {"fingerprint": identity.fingerprint, "settings": dict(identity.settings)}
    temporary = path.with_name(f"{_RUN}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def check_shared(folder: Path, identity: RunIdentity) -> None:
    """See to it that this machine writes to the folder that the driver prepared, not to a namesake of it.

    Raises:
        CapstanError: it doesn't.
    """
    try:
        record = json.loads((folder / STATE_FOLDER / _RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {}
    if record.get("fingerprint") != identity.fingerprint:
        raise CapstanError(
            f"{folder}: this machine ({os.uname().nodename}) doesn't see the run's output folder; "
            "a cluster's machines must share it under the same path"
        )

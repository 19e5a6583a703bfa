"""Pending shards through an autoscaling pool of captioner actors, scheduled by Ray Data.

Each shard is one block of one row that holds its number. Images never travel through the object store: actors read the
plan and the images, write the shard's part, and send back its counts.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy
from ray.exceptions import RayError

from caption_core.archive.run_record import STATE_FOLDER
from caption_core.engine.cluster import worker_environment
from caption_core.engine.console import quiet_ray_data
from caption_core.engine.native_stderr import native_stderr_in
from caption_core.engine.pool_size import PoolSize
from caption_core.engine.shard_captioner import ShardCaptioner
from caption_core.engine.watchdog import Watchdog
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.engine.worker_metrics import WorkerMetrics
from caption_core.errors import CapstanError
from caption_core.images import describe

_WORN_OUT_EXIT_CODE = 75  # EX_TEMPFAIL

# Errors that waiting doesn't mend: no space, no permission, no such folder.
_LASTING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
)
_PAUSES_S = (1.0, 5.0, 20.0)


def caption_shards(shard_ids: Sequence[int], work: CaptioningWork, pool: PoolSize) -> Iterator[ShardSummary]:
    """Caption shards on the connected cluster; yields a summary as each shard is committed, in no order.

    Raises:
        CapstanError: a worker can't work, or the same shard lost its worker too often.
    """
    quiet_ray_data()
    rows = [{"shard_id": shard_id} for shard_id in shard_ids]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        ShardActor,  # type: ignore[arg-type]  # Ray Data makes one an actor and calls that
        fn_constructor_args=(work,),
        compute=ActorPoolStrategy(min_size=pool.minimum, max_size=pool.maximum, initial_size=pool.initial),
        num_cpus=work.threads,
        runtime_env={"env_vars": worker_environment(work.threads)},
    )
    # Without prefetching: a summary held back until the next one is there would make progress look late.
    tables: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for row in _rows(tables):
        if row["failure"]:
            raise CapstanError(row["failure"])
        yield ShardSummary.from_json_values(json.loads(row["summary"]))


def _rows(tables: Iterable[Any]) -> Iterator[dict[str, Any]]:
    try:
        for table in tables:
            yield from table.to_pylist()
    except RayError as error:
        raise CapstanError(f"Ray gave up: {describe(error)}") from error


class ShardActor:
    """What Ray Data keeps in each actor.

    Errors that a user can act on come back as rows: raised, they would reach the driver as text among Ray's own.
    """

    def __init__(self, work: CaptioningWork) -> None:
        self._captioner: ShardCaptioner | None = None
        self._failure = ""
        self._watchdog = Watchdog(work.image_timeout_s, work.batch_size)
        self._metrics = WorkerMetrics()
        try:
            with _silent_loading(work.output.local_folder):
                self._captioner = ShardCaptioner(work, self._watchdog.beat)
        except Exception as error:
            self._failure = _told(error)
        self._watchdog.rest()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Caption the shard of a row; returns its summary as a row."""
        captioner = self._captioner
        if captioner is None:
            return {"failure": self._failure, "summary": ""}
        if captioner.is_worn_out:
            # Before this shard is begun: Ray starts another actor and gives it the shard.
            os._exit(_WORN_OUT_EXIT_CODE)
        self._watchdog.beat()
        try:
            summary = _patiently(lambda: captioner.caption_shard(int(row["shard_id"])))
        except Exception as error:
            return {"failure": f"shard {row['shard_id']}: {_told(error)}", "summary": ""}
        finally:
            self._watchdog.rest()
        self._metrics.add(summary)
        return {"failure": "", "summary": json.dumps(summary.to_json_values())}


def _patiently(caption: Callable[[], ShardSummary]) -> ShardSummary:
    """Try again what a file system or an object store refuses for no lasting reason."""
    for pause_s in _PAUSES_S:
        try:
            return caption()
        except OSError as error:
            if error.errno in _LASTING:
                raise
        time.sleep(pause_s)
    return caption()


def _told(error: Exception) -> str:
    """What the user reads; of an error that nobody foresaw its type too."""
    text = describe(error)
    return text if isinstance(error, (CapstanError, OSError)) else f"{type(error).__name__}: {text}"


@contextmanager
def _silent_loading(output: Path | None) -> Iterator[None]:
    """Keep what runtimes print while they load off the user's screen, and on disk should they crash."""
    if output is None:
        yield
        return
    log = output / STATE_FOLDER / f"loading-{os.uname().nodename}-{os.getpid()}.log"
    try:
        with native_stderr_in(log):
            yield
    finally:
        log.unlink(missing_ok=True)

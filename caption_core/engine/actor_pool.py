"""Pending shards through an autoscaling pool of captioner actors, scheduled by Ray Data.

Each shard is one block of one row that holds the names of its images. Images never travel through the object store:
actors read them, write the shard's part, and send back its counts.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray.data
from ray.data import ActorPoolStrategy

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import STATE_FOLDER
from caption_core.archive.shards import Shard
from caption_core.engine.cluster import worker_environment
from caption_core.engine.console import quiet_ray_data
from caption_core.engine.native_stderr import native_stderr_in
from caption_core.engine.pool_size import PoolSize
from caption_core.engine.shard_captioner import CaptioningWork, ShardCaptioner, ShardSummary
from caption_core.errors import CapstanError
from caption_core.records import ErrorKind, ImageRef


def caption_shards(shards: Sequence[Shard], work: CaptioningWork, pool: PoolSize) -> Iterator[ShardSummary]:
    """Caption shards on the connected cluster; yields a summary as each shard is committed, in no order.

    Raises:
        CapstanError: a worker can't work, or the same shard lost its worker too often.
    """
    quiet_ray_data()
    rows = [_shard_row(shard) for shard in shards]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        ShardActor,  # type: ignore[arg-type]  # Ray Data makes one an actor and calls that
        fn_constructor_args=(work,),
        compute=ActorPoolStrategy(min_size=pool.minimum, max_size=pool.maximum, initial_size=pool.initial),
        num_cpus=work.threads,
        runtime_env={"env_vars": worker_environment(work.threads)},
    )
    # Without prefetching: a summary held back until the next one is there would make progress look late.
    tables: Iterable[Any] = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    for table in tables:
        for row in table.to_pylist():
            yield _read_summary(row)


class ShardActor:
    """What Ray Data keeps in each actor.

    Errors that a user can act on come back as rows: raised, they would reach the driver as text among Ray's own.
    """

    def __init__(self, work: CaptioningWork) -> None:
        self._captioner: ShardCaptioner | None = None
        self._failure = ""
        try:
            with _silent_loading(work):
                self._captioner = ShardCaptioner(work)
        except (CapstanError, OSError, ImportError) as error:
            self._failure = str(error)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Caption the shard of a row; returns its summary as a row."""
        if self._captioner is None:
            return {"failure": self._failure}
        try:
            return _summary_row(self._captioner.caption_shard(_read_shard(row)))
        except (CapstanError, OSError) as error:
            return {"failure": f"shard {row['shard_id']}: {error}"}


@contextmanager
def _silent_loading(work: CaptioningWork) -> Iterator[None]:
    """Keep what runtimes print while they load off the user's screen, and on disk should they crash."""
    log = work.output / STATE_FOLDER / f"loading-{os.uname().nodename}-{os.getpid()}.log"
    try:
        with native_stderr_in(log):
            yield
    finally:
        log.unlink(missing_ok=True)


def _shard_row(shard: Shard) -> dict[str, Any]:
    return {
        "shard_id": shard.shard_id,
        "image_ids": [ref.image_id for ref in shard.refs],
        "uris": [ref.uri for ref in shard.refs],
        "num_bytes": [ref.num_bytes for ref in shard.refs],
    }


def _read_shard(row: dict[str, Any]) -> Shard:
    columns = zip(row["image_ids"], row["uris"], row["num_bytes"], strict=True)
    return Shard(int(row["shard_id"]), tuple(ImageRef(name, uri, int(size)) for name, uri, size in columns))


def _summary_row(summary: ShardSummary) -> dict[str, Any]:
    failed = summary.counts.failed_by_kind
    return {
        "failure": "",
        "shard_id": summary.shard_id,
        "ok": summary.counts.ok,
        **{kind.value: failed.get(kind.value, 0) for kind in ErrorKind},
        "worker": summary.worker,
        "started_s": summary.started_s,
        "finished_s": summary.finished_s,
    }


def _read_summary(row: dict[str, Any]) -> ShardSummary:
    if row["failure"]:
        raise CapstanError(row["failure"])
    failed = {kind.value: row[kind.value] for kind in ErrorKind if row[kind.value]}
    counts = OutcomeCounts(row["ok"], failed)
    return ShardSummary(row["shard_id"], counts, row["worker"], row["started_s"], row["finished_s"])

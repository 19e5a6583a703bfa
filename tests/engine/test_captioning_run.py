"""A whole run without Ray: what it tells of itself, and when it stops. `tests/integration` has the runs on Ray."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import fsspec
import pyarrow as pa
import pytest
from pyarrow import fs

from caption_core.archive.attempts import AttemptLog
from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import SUCCESS
from caption_core.archive.parts import part_name
from caption_core.archive.run_progress import RunProgress, progress_written, read_progress
from caption_core.archive.run_record import state_folder
from caption_core.archive.run_status import read_status
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.storage import Storage
from caption_core.engine import captioning_run
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE, bundle_captioner
from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.pool_size import ActorClaim
from caption_core.engine.run_report import RunReport
from caption_core.engine.run_setup import RunTask, preview_run
from caption_core.engine.shard_captioner import ShardCaptioner
from caption_core.engine.work import CaptioningWork, ShardSummary
from caption_core.errors import CapstanError, UsageError
from caption_core.records import ErrorKind
from tests.builders import plain, write_file, write_images
from tests.fake_captioner import fake_spec


class Run:
    """Runs over one pair of folders, in this process."""

    def __init__(self, root: Path) -> None:
        self.source = root / "in"
        self.config = CaptioningConfig((str(self.source),), str(root / "out"), shard_size=8)

    def __call__(self, **changes: object) -> RunReport:
        return run_captioning(replace(self.config, **changes), fake_spec(), io.StringIO())  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def in_turn(_: object, work: CaptioningWork, task: RunTask, *__: object) -> Iterator[ShardSummary]:
        captioner = ShardCaptioner(work)
        return (captioner.caption_shard(shard_id) for shard_id in task.shard_ids)

    monkeypatch.setattr(captioning_run, "connected", lambda _: nullcontext())
    monkeypatch.setattr(captioning_run, "_from_pool", in_turn)
    return Run(tmp_path)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Stands in for the output folder: one without locks, as in an object store."""
    memory = fs.PyFileSystem(fs.FSSpecHandler(fsspec.filesystem("memory", skip_instance_cache=True)))
    storage = Storage("store", memory, f"/{uuid4()}")
    monkeypatch.setattr(CaptioningConfig, "storage", lambda _: storage)
    return storage


def test_a_second_start_while_the_first_one_lists_is_refused_and_harms_nothing(
    run: Run, store: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_images(run.source, 16)
    list_refs, refused = FolderSource.list_refs, []

    def listing(source: FolderSource) -> Iterator[pa.RecordBatch]:
        yield from list_refs(source)
        plans = state_folder(store).folder_names()
        with pytest.raises(UsageError, match="still lists its inputs"):
            read_status(store)
        with pytest.raises(UsageError, match="another run is writing here") as refusal:
            run()
        refused.append(refusal)
        assert state_folder(store).folder_names() == plans

    monkeypatch.setattr(FolderSource, "list_refs", listing)
    assert run().counts == OutcomeCounts(16)
    assert len(refused) == 1
    assert read_status(store).state == "finished"


def test_a_start_that_captions_nothing_leaves_what_the_last_run_told(run: Run) -> None:
    write_images(run.source, 16)
    run()
    state = state_folder(run.config.storage())
    told = read_progress(state)
    assert told is not None
    assert (told.num_done, told.ended, told.listing) == (16, True, False)
    run()
    with pytest.raises(UsageError, match="shard_size"):
        run(shard_size=4)
    assert read_progress(state) == told


def test_a_run_that_was_killed_is_followed_by_one_that_tells_anew(run: Run) -> None:
    write_images(run.source, 16)
    output = run.config.storage()
    state_folder(output).make()
    before = RunProgress(16, 3, 0, None, 0.0, "elsewhere:1")
    with progress_written(state_folder(output), lambda _: before):
        pass
    run()
    told = read_progress(state_folder(output))
    assert told is not None
    assert told.num_done == 16


def test_a_compressed_captioner_takes_no_gpus(tmp_path: Path) -> None:
    write_images(tmp_path / "in", 1)
    config = CaptioningConfig((str(tmp_path / "in"),), str(tmp_path / "out"), claim=ActorClaim(1, gpus=0.5))
    captioner = bundle_captioner(DEFAULT_BUNDLE)
    refused = pytest.raises(UsageError, match="is compressed and runs on CPUs: leave out --gpus-per-actor")
    with refused:
        run_captioning(config, captioner)
    with refused:
        preview_run(config, captioner, config.open_source())
    assert not (tmp_path / "out").exists()


def test_heavy_shards_are_begun_first_and_what_is_tried_again_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, padding in enumerate([0, 0, 0, 0, 9_000, 0, 90_000, 0, 0, 0]):
        write_file(run.source / f"{number}.jpg", plain() + bytes(padding))
    write_file(run.source / "0.jpg", b"no image" + bytes(200_000))
    begun = list[int]()
    caption_shard = ShardCaptioner.caption_shard

    def noting(captioner: ShardCaptioner, shard_id: int) -> ShardSummary:
        begun.append(shard_id)
        return caption_shard(captioner, shard_id)

    monkeypatch.setattr(ShardCaptioner, "caption_shard", noting)
    run(shard_size=2)
    assert begun == [0, 3, 2, 1, 4]
    begun.clear()
    for shard_id in (1, 2, 3):
        (Path(run.config.output) / part_name(shard_id)).unlink()
    run(shard_size=2, retry_failed=frozenset(ErrorKind))
    assert begun == [3, 2, 1, 0]
    begun.clear()
    run(shard_size=2, overwrite=True, max_error_rate=0.5)
    assert begun == [0, 1, 2, 3, 4], "what a run is judged by while it works must not be its largest files alone"


def test_tries_of_a_run_that_was_killed_count_for_nothing_and_a_run_leaves_no_notes(run: Run) -> None:
    write_images(run.source, 9)
    state = state_folder(run.config.storage())
    for _ in range(2):
        AttemptLog(state, 0).begin()
    for _ in range(2):
        log = AttemptLog(state, 0)
        log.begin()
        log.suspect(3)
    assert run().counts.failed == 0
    assert "attempts" not in state.folder_names()


@pytest.mark.parametrize(("shard_size", "told"), [(2, True), (64, False)])
def test_shards_too_small_for_a_gpu_are_noted(run: Run, shard_size: int, told: bool) -> None:
    write_images(run.source, 3)
    stream = io.StringIO()
    config = replace(run.config, claim=ActorClaim(1, gpus=1), batch_size=8, shard_size=shard_size)
    run_captioning(config, fake_spec(), stream)
    assert ("keep GPUs waiting" in stream.getvalue()) is told


def test_a_run_that_failures_stopped_goes_on_once_the_cause_is_mended(run: Run) -> None:
    colours = write_images(run.source, 160)
    for name, colour in colours.items():
        write_file(run.source / name, bytes(len(plain(colour))))
    with pytest.raises(CapstanError, match="104 of 104 images failed") as stopped:
        run(max_error_rate=0.5)
    assert "--retry-failed" in str(stopped.value)

    for name, colour in colours.items():
        write_file(run.source / name, plain(colour))
    with pytest.raises(CapstanError, match=r"104 of 160 images failed .* --retry-failed tries again what failed"):
        run(max_error_rate=0.5)
    output = run.config.storage()
    assert read_status(output).counts.ok == 56
    assert not output.exists(SUCCESS)
    assert run(max_error_rate=0.5, retry_failed=frozenset(ErrorKind)).counts == OutcomeCounts(160)


def test_a_retry_is_judged_with_the_images_that_did_not_fail(run: Run) -> None:
    write_images(run.source, 200)
    for index in range(110):
        write_file(run.source / "9" / f"{index:03d}.png", b"")
    assert run(max_error_rate=0.5).counts.failed == 110
    assert run(max_error_rate=0.5, retry_failed=frozenset(ErrorKind)).counts.failed == 110

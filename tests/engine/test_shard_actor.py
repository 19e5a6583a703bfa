"""An actor that is refused something while it loads."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from caption_core.archive.plan_files import write_plan
from caption_core.archive.run_record import begin_record, state_folder, write_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.storage import Storage
from caption_core.engine.shard_actor import ShardActor
from caption_core.engine.work import CaptioningWork
from caption_core.images import ImageLimits
from caption_core.search import SearchSettings
from tests.builders import write_images
from tests.fake_captioner import FakeLoader, fake_spec

IDENTITY = RunIdentity({"model_id": "fake"})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none of them is waited for."""
    made: list[float] = []
    monkeypatch.setattr("caption_core.archive.patience.time", SimpleNamespace(sleep=made.append))
    monkeypatch.setattr("caption_core.engine.shard_actor.gc.freeze", lambda: None)
    return made


def planned(root: Path, loader: FakeLoader) -> CaptioningWork:
    """A run of one shard of three images."""
    write_images(root / "in", 3)
    source, output = FolderSource.at(root / "in"), Storage.at(root / "out")
    folder = state_folder(output).sub("plan-0")
    folder.make()
    refs = write_plan(source.list_refs(), folder)
    write_record(output, begin_record(IDENTITY, ShardPlan(3, 8, refs.digest), "plan-0", ["in"]))
    return CaptioningWork(
        source=source,
        output=output,
        captioner=fake_spec(loader),
        search=SearchSettings(),
        limits=ImageLimits(),
        identity=IDENTITY,
        batch_size=4,
        threads=1,
    )


def test_what_is_refused_while_it_loads_is_waited_for(
    tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    work, left, read = planned(tmp_path, FakeLoader()), [2], Storage.read

    def refusing(storage: Storage, name: str) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EIO, "Input/output error")
        return read(storage, name)

    monkeypatch.setattr(Storage, "read", refusing)
    actor = ShardActor(work)
    assert (actor.failure(), pauses) == ("", [1.0, 5.0])
    summary = actor.caption_shard(0).summary
    assert summary is not None
    assert summary.counts.ok == 3


def test_a_captioner_that_does_not_load_is_told_at_once(tmp_path: Path, pauses: list[float]) -> None:
    actor = ShardActor(planned(tmp_path, FakeLoader(fails=True)))
    assert "no runtime on this machine" in actor.failure()
    assert pauses == []

"""The record of a run: read back as it was written, and only where the driver wrote it."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from caption_core.archive.run_record import (
    RunRecord,
    begin_record,
    check_shared,
    new_plan_folder,
    read_record,
    remove_other_plans,
    state_folder,
    write_record,
)
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import CapstanError

IDENTITY = RunIdentity({"model_id": "m@1", "beam_width": 3})


def written(folder: Path) -> RunRecord:
    output = Storage.at(folder)
    state_folder(output).make()
    record = begin_record(IDENTITY, ShardPlan(10, 4, "d" * 64, 1000, 2), new_plan_folder(), ["photographs", "x.tar"])
    write_record(output, record)
    return record


def test_a_record_reads_back(tmp_path: Path) -> None:
    assert written(tmp_path) == read_record(Storage.at(tmp_path))


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff"])
def test_without_a_readable_record_there_is_none(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        written(tmp_path)
        (tmp_path / "_run" / "run.json").write_bytes(content)
    assert read_record(Storage.at(tmp_path)) is None


def test_a_machine_without_the_folder_is_told_apart(tmp_path: Path) -> None:
    record = written(tmp_path / "out")
    assert check_shared(Storage.at(tmp_path / "out"), IDENTITY) == record
    for folder, identity in [("namesake", IDENTITY), ("out", RunIdentity({"model_id": "m@2"}))]:
        with pytest.raises(CapstanError, match="doesn't see the run's output folder"):
            check_shared(Storage.at(tmp_path / folder), identity)


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (OSError(errno.EIO, "I/O error"), OSError),
        (OSError("AWS Error NETWORK_CONNECTION"), OSError),
        (PermissionError(errno.EACCES, "no"), CapstanError),
    ],
)
def test_a_record_that_cannot_be_read_at_this_moment_may_be_there(
    tmp_path: Path, refusal: OSError, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    output = Storage.at(tmp_path)

    def refuse(*_: object) -> bytes:
        raise refusal

    monkeypatch.setattr(Storage, "read", refuse)
    with pytest.raises(told):
        check_shared(output, IDENTITY)
    assert read_record(output) is None


def test_only_plans_of_other_runs_are_removed(tmp_path: Path) -> None:
    for name in ("plan-0000", "plan-1111", "attempts"):
        (tmp_path / "_run" / name).mkdir(parents=True)
        (tmp_path / "_run" / name / "file").touch()
    (tmp_path / "_run" / "plan-file").touch()
    remove_other_plans(Storage.at(tmp_path), "plan-1111")
    assert sorted(path.name for path in (tmp_path / "_run").iterdir()) == ["attempts", "plan-1111", "plan-file"]
    remove_other_plans(Storage.at(tmp_path / "nowhere"), None)


def test_a_continued_run_has_begun_when_it_began(tmp_path: Path) -> None:
    first = written(tmp_path)
    earlier = replace(first, begun_at="2020-01-01T00:00:00+00:00")
    again = begin_record(IDENTITY, first.plan, "plan-1", ["photographs"], earlier)
    assert (again.begun_at, again.started_at >= first.started_at) == (earlier.begun_at, True)
    other = begin_record(RunIdentity({"model_id": "m@2"}), first.plan, "plan-1", ["photographs"], earlier)
    assert other.begun_at == other.started_at

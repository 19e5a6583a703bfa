"""The status of a run from its output folder alone."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import SUCCESS, held_output_folder
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.run_progress import RunProgress, progress_written
from caption_core.archive.run_record import begin_record, state_folder, write_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.run_status import read_status
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import UsageError
from caption_core.records import OUTPUT_SCHEMA

IDENTITY = RunIdentity({"model_id": "m@1"})


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    """Of three shards one is done, without images."""
    storage = Storage.at(tmp_path)
    state_folder(storage).make()
    write_record(storage, begin_record(IDENTITY, ShardPlan(10, 4, "d"), "plan-0", ["photographs"]))
    write_part(storage, 1, OUTPUT_SCHEMA.empty_table(), PartFooter(IDENTITY.fingerprint, {}, OutcomeCounts()))
    return storage


def test_a_run_that_works_a_run_that_stopped_and_one_that_is_done(output: Storage) -> None:
    with held_output_folder(output):
        assert read_status(output).state == "running"
    assert read_status(output).state == "stopped"
    output.write(SUCCESS, b"")
    assert read_status(output).state == "finished"


def test_what_is_done_is_counted(output: Storage) -> None:
    moment = RunProgress(10, 4, 0, 2.0, time.time(), "machine:7")
    with held_output_folder(output), progress_written(state_folder(output), lambda _: moment):
        status = read_status(output)
    lines = status.lines()
    assert "shards: 1 of 3 are done" in lines
    assert any("0 of 10 (0.0 %)" in line for line in lines)
    assert "machine:7" in lines[-1]
    assert "2.0 images/s" in lines[-1]
    values = json.loads(status.as_json())
    assert (values["state"], values["shards_done"], values["images"]) == ("running", 1, 10)


def test_a_run_that_lists_its_inputs_says_so(output: Storage, tmp_path: Path) -> None:
    def listing(ended: bool) -> RunProgress:
        return RunProgress.of_listing(ended=ended)

    with held_output_folder(output), progress_written(state_folder(output), listing):
        status = read_status(output)
    assert status.lines()[-1].endswith(", listing the inputs")
    assert json.loads(status.as_json())["listing"]
    assert not json.loads(read_status(output).as_json())["listing"]
    new = Storage.at(tmp_path / "new")
    begun = pytest.raises(UsageError, match="has just begun here, and still lists its inputs")
    with held_output_folder(new), progress_written(state_folder(new), listing), begun:
        read_status(new)


def test_a_folder_without_a_run_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no captioning run has begun here"):
        read_status(Storage.at(tmp_path / "typo"))

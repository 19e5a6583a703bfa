"""The output folder: apart from the input, writable, one run at a time."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.output_folder import check_apart, clear_output, held_output_folder, is_held
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.run_record import begin_record, read_record, write_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import UsageError
from caption_core.records import OUTPUT_SCHEMA

HOLD = """
import sys, time
from caption_core.archive.output_folder import held_output_folder
from caption_core.archive.storage import Storage
with held_output_folder(Storage.at(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("source", "output"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/./b/..")]
)
def test_folders_in_one_another_are_refused(tmp_path: Path, source: str, output: str) -> None:
    with pytest.raises(UsageError, match="must not lie in one another"):
        check_apart([str(tmp_path / source)], Storage.at(tmp_path / output))


def test_a_link_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(UsageError, match="must not lie in one another"):
        check_apart([str(tmp_path / "in")], Storage.at(tmp_path / "link" / "out"))


def test_neighbours_are_fine(tmp_path: Path) -> None:
    check_apart([str(tmp_path / "photos"), "s3://bucket/photos"], Storage.at(tmp_path / "photos-captions"))


@pytest.mark.parametrize(("source", "output"), [("s3://b/x", "s3://b/x/out"), ("s3://b/x/y.tar", "s3://b/x")])
def test_prefixes_in_one_another_are_refused(source: str, output: str) -> None:
    with pytest.raises(UsageError, match="must not lie in one another"):
        check_apart([source], Storage(output, None, ""))


def test_the_folder_is_made_and_leftovers_go(tmp_path: Path) -> None:
    with held_output_folder(Storage.at(tmp_path / "a" / "b")):
        leftover = tmp_path / "a" / "b" / ".part-00000.parquet.0123456789abcdef.tmp"
        leftover.touch()
    with held_output_folder(Storage.at(tmp_path / "a" / "b")):
        assert not leftover.exists()


def test_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run is writing here"), held_output_folder(Storage.at(tmp_path)):
            pytest.fail("two runs in one folder")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with held_output_folder(Storage.at(tmp_path)):
        pass


def test_a_foreign_parquet_file_is_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "sales.parquet").touch()
    with pytest.raises(UsageError, match=r"sales\.parquet"), held_output_folder(Storage.at(tmp_path)):
        pytest.fail("a reader of the folder would meet both")


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: can't write here"), held_output_folder(Storage.at(tmp_path / "file")):
        pytest.fail("a file is no folder")


def test_a_forbidden_folder(users_folder: Path) -> None:
    users_folder.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), held_output_folder(Storage.at(users_folder / "out")):
        pytest.fail("written without permission")


def test_whether_a_run_is_at_work(tmp_path: Path) -> None:
    output = Storage.at(tmp_path / "out")
    assert not is_held(output)
    with held_output_folder(output):
        assert is_held(output)
    assert not is_held(output)


def test_clearing_deletes_what_runs_wrote_and_nothing_else(tmp_path: Path) -> None:
    output = Storage.at(tmp_path)
    write_part(output, 0, OUTPUT_SCHEMA.empty_table(), PartFooter("f", {}, OutcomeCounts()))
    (tmp_path / "part-00001.parquet").write_bytes(b"damaged")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "_report").mkdir()
    (tmp_path / "_report" / "summary.json").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "part-00000.parquet").touch()
    clear_output(output)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "more",
        "more/part-00000.parquet",
        "notes.txt",
    ]


def test_a_second_start_harms_the_first_in_nothing(tmp_path: Path) -> None:
    with held_output_folder(Storage.at(tmp_path / "out")):
        (tmp_path / "out" / "_run" / "plan-0").mkdir()
        with pytest.raises(UsageError, match="another run"), held_output_folder(Storage.at(tmp_path / "out")):
            pytest.fail("two runs in one folder")
        assert (tmp_path / "out" / "_run" / "plan-0").is_dir()


def test_wrong_usage_leaves_no_new_folder_but_a_run_that_has_begun_stays(tmp_path: Path) -> None:
    new, begun = Storage.at(tmp_path / "new"), Storage.at(tmp_path / "begun")
    with pytest.raises(UsageError, match="wrong"), held_output_folder(new):
        raise UsageError("wrong")
    assert not new.is_there()
    with pytest.raises(UsageError, match="wrong"), held_output_folder(begun):
        _begin_wrongly(begun)
    assert read_record(begun) is not None


def _begin_wrongly(output: Storage) -> None:
    write_record(output, begin_record(RunIdentity({"a": 1}), ShardPlan(1, 1, "d"), "plan-0", ["in"]))
    raise UsageError("wrong")


def test_who_only_looks_stops_no_run_from_starting(tmp_path: Path) -> None:
    output = Storage.at(tmp_path / "out")
    with held_output_folder(output):
        pass
    with (tmp_path / "out" / "_run" / "lock").open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.2, lambda: fcntl.flock(looking, fcntl.LOCK_UN)).start()
        with held_output_folder(output):
            pass

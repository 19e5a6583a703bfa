"""The output folder: apart from the input, writable, one run at a time."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from caption_core.archive.output_folder import check_apart, check_shared, held_output_folder, write_run_record
from caption_core.archive.run_state import RunIdentity
from caption_core.errors import CapstanError, UsageError

HOLD = """
import sys, time
from pathlib import Path
from caption_core.archive.output_folder import held_output_folder
with held_output_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize(
    ("source", "output"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("a/b/c", "a"), ("a", "a/./b/..")]
)
def test_folders_in_one_another_are_refused(tmp_path: Path, source: str, output: str) -> None:
    with pytest.raises(UsageError, match="must not lie in one another"):
        check_apart(tmp_path / source, tmp_path / output)


def test_a_link_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    with pytest.raises(UsageError, match="must not lie in one another"):
        check_apart(tmp_path / "in", tmp_path / "link" / "out")


def test_neighbours_are_fine(tmp_path: Path) -> None:
    check_apart(tmp_path / "photos", tmp_path / "photos-captions")


def test_the_folder_is_made_and_leftovers_go(tmp_path: Path) -> None:
    with held_output_folder(tmp_path / "a" / "b"):
        leftover = tmp_path / "a" / "b" / "_part-00000.parquet.0123456789abcdef.tmp"
        leftover.touch()
    with held_output_folder(tmp_path / "a" / "b"):
        assert not leftover.exists()


def test_one_run_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match="another run is writing here"), held_output_folder(tmp_path):
            pytest.fail("two runs in one folder")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with held_output_folder(tmp_path):
        pass


def test_a_foreign_parquet_file_is_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "sales.parquet").touch()
    with pytest.raises(UsageError, match=r"sales\.parquet"), held_output_folder(tmp_path):
        pytest.fail("a reader of the folder would meet both")


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file: can't write here"), held_output_folder(tmp_path / "file"):
        pytest.fail("a file is no folder")


def test_a_forbidden_folder(users_folder: Path) -> None:
    users_folder.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"), held_output_folder(users_folder / "out"):
        pytest.fail("written without permission")


def test_a_machine_without_the_folder_is_told_apart(tmp_path: Path) -> None:
    identity = RunIdentity({"model_id": "m@1"})
    with held_output_folder(tmp_path / "out"):
        write_run_record(tmp_path / "out", identity)
    check_shared(tmp_path / "out", identity)
    (tmp_path / "namesake").mkdir()
    for folder, other in [(tmp_path / "namesake", identity), (tmp_path / "out", RunIdentity({"model_id": "m@2"}))]:
        with pytest.raises(CapstanError, match="doesn't see the run's output folder"):
            check_shared(folder, other)

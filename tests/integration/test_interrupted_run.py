"""Runs that are killed or stopped, and resumed: no row lost, none twice, no part half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from caption_core.archive.output_folder import held_output_folder
from caption_core.archive.parts import list_parts, read_footer
from caption_core.archive.storage import Storage
from caption_core.records import VOLATILE_COLUMNS
from tests.builders import plain, write_file, write_images, written
from tests.fake_captioner import STALLING
from tests.integration.ray_head import clean_environment, kill_session, processes_of

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES = 96
SHARD_SIZE = 8

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    names = sorted(write_images(folder, NUM_IMAGES))
    # One for each of the two actors: a run that stalls here is half way until somebody ends it.
    for shard_id in (4, 8):
        write_file(folder / names[shard_id * SHARD_SIZE], plain(STALLING))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("uninterrupted") / "out"
    assert finish(source, output).returncode == 0
    return output


def command(source: Path, output: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.fake_run", str(source), str(output), f"--shard-size={SHARD_SIZE}", *options]


def finish(source: Path, output: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, output), cwd=ROOT, env=clean_environment(), text=True, capture_output=True, timeout=300
    )


@contextmanager
def half_way(source: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A run of which some shards are committed and some never will be."""
    process = subprocess.Popen(
        command(source, output, "--stalls"),
        cwd=ROOT,
        env=clean_environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end_s = time.monotonic() + 200
        while not output.exists() or len(list_parts(Storage.at(output))) < 3:
            assert process.poll() is None, "it ended before it was half way"
            assert time.monotonic() < end_s
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def killed() -> Iterator[list[int]]:
    """Session leaders of runs that were killed: Ray's own processes end a minute later, which other tests can use."""
    leaders: list[int] = []
    yield leaders
    for leader in leaders:
        wait_until_gone(leader)


def rows(output: Path) -> pa.Table:
    return ds.dataset(output, format="parquet").to_table().drop_columns(VOLATILE_COLUMNS).sort_by("image_id")


def commits(output: Path) -> dict[int, tuple[int, int]]:
    """Which file stands for each finished shard, and when it was written."""
    storage = Storage.at(output)
    for name in list_parts(storage).values():
        read_footer(storage, name)
    return {shard_id: written(output / name) for shard_id, name in list_parts(storage).items()}


def assert_resumed(source: Path, output: Path, uninterrupted: Path) -> None:
    before = commits(output)
    assert 0 < len(before) < NUM_IMAGES // SHARD_SIZE
    done = finish(source, output)
    assert done.returncode == 0, done.stderr
    assert "of them were finished by an earlier run" in done.stdout
    assert rows(output).equals(rows(uninterrupted))
    after = commits(output)
    assert {shard_id: after[shard_id] for shard_id in before} == before, "no finished shard is done again"
    assert not list(output.glob(".part*"))


def wait_until_gone(session_leader: int) -> None:
    end_s = time.monotonic() + 150
    while alive := processes_of(session_leader):
        assert time.monotonic() < end_s, f"processes of an ended run are still there: {alive}"
        time.sleep(0.2)


@pytest.mark.parametrize("whole_group", [False, True], ids=["driver", "everything"])
def test_a_killed_run_is_resumed(
    source: Path, uninterrupted: Path, tmp_path: Path, killed: list[int], whole_group: bool
) -> None:
    output = tmp_path / "out"
    with half_way(source, output) as process:
        if whole_group:
            kill_session(process.pid)
        else:
            process.kill()
        assert process.wait() == -signal.SIGKILL
    # At once: its workers may still be there for a moment.
    assert_resumed(source, output, uninterrupted)
    killed.append(process.pid)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_ends_cleanly_and_is_resumed(
    source: Path, uninterrupted: Path, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    output = tmp_path / "out"
    with half_way(source, output) as process:
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does with Ctrl-C
            for _ in range(3):  # and as the impatient do
                time.sleep(0.3)
                process.send_signal(number)
        else:
            process.send_signal(number)
        assert process.wait(timeout=100) == exit_code
        wait_until_gone(process.pid)
    assert_resumed(source, output, uninterrupted)


def test_two_runs_do_not_write_to_one_folder(source: Path, tmp_path: Path) -> None:
    with held_output_folder(Storage.at(tmp_path / "out")):
        second = finish(source, tmp_path / "out")
    assert second.returncode == 2
    assert "another run is writing here" in second.stderr

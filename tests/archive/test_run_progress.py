"""The progress on disk: written while a run works, and at its end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from caption_core.archive.run_progress import STALE_AFTER_S, RunProgress, progress_written, read_progress
from caption_core.archive.storage import Storage


def moment(num_done: int, *, ended: bool = False) -> RunProgress:
    return RunProgress(100, num_done, 1, 12.5, time.time(), "machine:1", ended)


def test_progress_is_written_while_it_grows_and_at_the_end(tmp_path: Path) -> None:
    state, done = Storage.at(tmp_path), [0]
    with progress_written(state, lambda ended: moment(done[0], ended=ended), every_s=0.01):
        first = read_progress(state)
        assert first is not None
        assert first.is_alive
        assert first.num_done == 0
        done[0] = 50
        end_s = time.monotonic() + 30
        while (now := read_progress(state)) is None or now.num_done < 50:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        done[0] = 100
    last = read_progress(state)
    assert last is not None
    assert (last.num_done, last.ended, last.is_alive) == (100, True, False)


def test_a_moment_can_be_written_at_once(tmp_path: Path) -> None:
    state, moments = Storage.at(tmp_path), [RunProgress.of_listing(ended=False)]
    with progress_written(state, lambda _: moments[-1], every_s=600) as write:
        assert read_progress(state) == moments[0]
        moments.append(moment(5))
        write()
        assert read_progress(state) == moments[1]


def test_a_driver_that_fell_silent_is_not_alive() -> None:
    assert not replace(moment(5), written_s=time.time() - STALE_AFTER_S - 1).is_alive


def test_a_disk_that_refuses_does_not_end_the_run(tmp_path: Path) -> None:
    with progress_written(Storage.at(tmp_path / "missing" / "folder"), lambda _: moment(1)):
        pass


def test_without_a_readable_file_there_is_none(tmp_path: Path) -> None:
    assert read_progress(Storage.at(tmp_path)) is None
    (tmp_path / "progress.json").write_text('{"half":')
    assert read_progress(Storage.at(tmp_path)) is None

"""Attempts at a shard are counted across processes, and forgotten when it is done."""

from __future__ import annotations

from pathlib import Path

from caption_core.archive.attempts import begin_attempt, end_attempts, forget_attempts
from caption_core.archive.output_folder import held_output_folder


def test_attempts_are_counted_by_shard(tmp_path: Path) -> None:
    with held_output_folder(tmp_path):
        assert [begin_attempt(tmp_path, 3) for _ in range(3)] == [1, 2, 3]
        assert begin_attempt(tmp_path, 4) == 1
        end_attempts(tmp_path, 3)
        assert begin_attempt(tmp_path, 3) == 1
        forget_attempts(tmp_path)
        assert begin_attempt(tmp_path, 4) == 1


def test_ending_what_was_not_begun_is_fine(tmp_path: Path) -> None:
    end_attempts(tmp_path, 0)
    forget_attempts(tmp_path)

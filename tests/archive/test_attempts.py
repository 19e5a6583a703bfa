"""Tries of a shard: counted where all machines see it, and the image that kills workers is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from caption_core.archive.attempts import Attempt, AttemptLog, forget_attempts
from caption_core.archive.storage import Storage


@pytest.fixture
def state(tmp_path: Path) -> Storage:
    return Storage.at(tmp_path / "_run")


def attempt(state: Storage, shard_id: int = 7) -> Attempt:
    """A try by a worker of its own."""
    return AttemptLog(state, shard_id).begin()


def test_tries_are_counted_for_each_shard(state: Storage) -> None:
    assert [attempt(state).number for _ in range(3)] == [1, 2, 3]
    assert attempt(state, 8).number == 1


def test_a_try_that_an_exception_ended_is_forgotten_with_those_before_it(state: Storage) -> None:
    attempt(state)
    log = AttemptLog(state, 7)
    log.begin()
    log.take_back()
    assert attempt(state).number == 1


def test_a_new_run_forgets_all(state: Storage) -> None:
    attempt(state)
    forget_attempts(state)
    assert attempt(state).number == 1
    forget_attempts(Storage.at("/nowhere"))


def test_the_first_tries_go_at_full_speed_and_then_each_image_is_noted(state: Storage) -> None:
    assert [attempt(state).is_careful for _ in range(4)] == [False, False, True, True]


def die_at(state: Storage, *positions: int) -> Attempt:
    """A worker that notes down images and dies at the last of them."""
    log = AttemptLog(state, 7)
    begun = log.begin()
    for position in positions:
        log.suspect(position)
    return begun


def test_an_image_that_kills_twice_is_condemned(state: Storage) -> None:
    for _ in range(2):
        attempt(state)
    assert die_at(state, 0, 1, 2).condemned == ()
    assert die_at(state, 0, 1, 2).condemned == ()
    assert die_at(state, 0, 1, 3).condemned == (2,)
    assert die_at(state, 0, 1, 3).condemned == (2,)
    last = attempt(state)
    assert last.condemned == (2, 3)
    assert last.is_careful
    assert not last.is_hopeless


def test_one_death_beside_an_image_condemns_nothing(state: Storage) -> None:
    for _ in range(2):
        attempt(state)
    for position in (4, 5, 6):
        assert die_at(state, position).condemned == ()


def test_deaths_that_no_image_explains_are_hopeless_in_the_end(state: Storage) -> None:
    tries = [attempt(state).is_hopeless for _ in range(8)]
    assert tries == [False] * 6 + [True] * 2


def test_a_death_while_the_part_is_written_blames_no_image(state: Storage) -> None:
    for _ in range(2):
        attempt(state)
    for _ in range(3):
        log = AttemptLog(state, 7)
        log.begin()
        log.suspect(8)
        log.suspect(None)
    assert attempt(state).condemned == ()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"number": 3}', b'{"other": 1, "condemned": []}'])
def test_notes_that_a_death_left_unreadable_count_as_none(state: Storage, content: bytes) -> None:
    attempt(state)
    folder = state.sub("attempts")
    folder.write(folder.names()[0], content)
    assert attempt(state).number == 1

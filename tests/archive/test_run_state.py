"""Fingerprints, resuming, and the books of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.run_state import (
    ReconciliationError,
    RunIdentity,
    Setting,
    committed_parts,
    reconcile,
)
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import UsageError
from caption_core.records import OUTPUT_SCHEMA

SETTINGS: dict[str, Setting] = {"model_id": "m@1", "beam_width": 3, "length_penalty": 0.7, "input_digest": "0" * 64}
IDENTITY = RunIdentity(SETTINGS)

VALUES = st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
DICTIONARIES = st.dictionaries(st.sampled_from("abcd"), VALUES)


def plan(*sizes: int) -> ShardPlan:
    return ShardPlan(sum(sizes), sizes[0], "d")


def counts(ok: int, **failed: int) -> OutcomeCounts:
    return OutcomeCounts(ok, failed)


@given(DICTIONARIES, DICTIONARIES)
def test_differences_are_named_exactly_where_fingerprints_differ(
    one: dict[str, Setting], other: dict[str, Setting]
) -> None:
    ours, theirs = RunIdentity(one), RunIdentity(other)
    assert bool(ours.differences(other)) == (one != other)
    if one != other:
        assert ours.fingerprint != theirs.fingerprint


def test_the_fingerprint_does_not_depend_on_order() -> None:
    assert RunIdentity(dict(reversed(SETTINGS.items()))).fingerprint == IDENTITY.fingerprint


def test_a_difference_says_what_was_and_what_is() -> None:
    changed = {**SETTINGS, "beam_width": 5, "input_digest": "1" * 64}
    assert RunIdentity(changed).differences(SETTINGS) == [
        "beam_width 3 → 5",
        "input_digest 000000000000… → 111111111111…",
    ]


def write(folder: Path, shard_id: int, identity: RunIdentity) -> None:
    part = PartFooter(identity.fingerprint, identity.settings, OutcomeCounts())
    write_part(Storage.at(folder), shard_id, OUTPUT_SCHEMA.empty_table(), part)


def test_finished_shards_are_found(tmp_path: Path) -> None:
    assert committed_parts(Storage.at(tmp_path), IDENTITY) == {}
    for shard_id in (0, 2, 100_000):
        write(tmp_path, shard_id, IDENTITY)
    assert sorted(committed_parts(Storage.at(tmp_path), IDENTITY)) == [0, 2, 100_000]


def test_another_runs_parts_stop_with_what_differs(tmp_path: Path) -> None:
    write(tmp_path, 0, IDENTITY)
    write(tmp_path, 1, RunIdentity({**SETTINGS, "beam_width": 5}))
    with pytest.raises(UsageError, match=r"\(beam_width 5 → 3\)"):
        committed_parts(Storage.at(tmp_path), IDENTITY)


def test_books_that_balance() -> None:
    total = reconcile(plan(4, 4, 2), {0: counts(4), 1: counts(1, corrupt=3), 2: counts(0, corrupt=1, empty=1)})
    assert total == OutcomeCounts(5, {"corrupt": 4, "empty": 1})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({0: counts(4), 1: counts(4)}, "shard 2: 2 images planned, 0 rows written"),
        ({0: counts(4), 1: counts(5), 2: counts(2)}, "shard 1: 4 images planned, 5 rows written"),
        ({0: counts(4), 1: counts(4), 2: counts(2), 3: counts(1)}, "shard 3: 0 images planned, 1 rows written"),
        ({0: counts(3, corrupt=2), 1: counts(3), 2: counts(2)}, "2 of 3 shards"),
    ],
)
def test_books_that_do_not_balance(parts: dict[int, OutcomeCounts], message: str) -> None:
    with pytest.raises(ReconciliationError, match=message):
        reconcile(plan(4, 4, 2), parts)

"""Failed images listed by kind, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caption_core.archive.failures import failures_as_json, failures_as_table, iter_failures
from caption_core.archive.outcomes import ImageOutcome, count_outcomes, outcomes_to_table, sum_counts
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.run_state import part_counts
from caption_core.archive.storage import Storage
from caption_core.errors import ImageError
from caption_core.records import Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings


@pytest.fixture
def output(tmp_path: Path) -> Storage:
    storage = Storage.at(tmp_path)
    results: list[list[Caption | ImageError]] = [
        [Caption("a dog", -1.0, 2), ImageError(ErrorKind.EMPTY, "zero bytes")],
        [Caption("a cat", -1.0, 2)],
        [ImageError(ErrorKind.CORRUPT, "cut\x1b[2J off"), ImageError(ErrorKind.EMPTY, "zero bytes")],
    ]
    for shard_id, shard in enumerate(results):
        outcomes = [
            ImageOutcome(ImageRef(f"{shard_id}/{index}.jpg", f"file:///{index}"), result)
            for index, result in enumerate(shard)
        ]
        rows = outcomes_to_table(outcomes, "m@1", shard_id, SearchSettings())
        write_part(storage, shard_id, rows, PartFooter("f", {}, count_outcomes(outcomes)))
    return storage


def test_failures_come_by_kind_and_in_order(output: Storage) -> None:
    failures = list(iter_failures(output, part_counts(output)))
    assert [(row["error_kind"], row["image_id"]) for row in failures] == [
        ("corrupt", "2/0.jpg"),
        ("empty", "0/1.jpg"),
        ("empty", "2/1.jpg"),
    ]


def test_one_kind_is_asked_for(output: Storage) -> None:
    assert [row["image_id"] for row in iter_failures(output, part_counts(output), ["corrupt"])] == ["2/0.jpg"]
    assert list(iter_failures(output, part_counts(output), ["timed_out"])) == []


def test_the_table_counts_and_moves_no_cursor(output: Storage) -> None:
    parts = part_counts(output)
    assert list(failures_as_table(iter_failures(output, parts), sum_counts(parts.values()))) == [
        "corrupt (1)",
        r"  2/0.jpg: cut\x1b[2J off",
        "empty (2)",
        "  0/1.jpg: zero bytes",
        "  2/1.jpg: zero bytes",
        "3 of 5 images failed",
    ]


def test_each_line_of_json_is_an_object(output: Storage) -> None:
    lines = list(failures_as_json(iter_failures(output, part_counts(output))))
    assert [json.loads(line)["error_message"] for line in lines] == ["cut\x1b[2J off", "zero bytes", "zero bytes"]
    assert all("\n" not in line for line in lines)

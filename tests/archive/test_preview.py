"""The table of captions: aligned, and safe to print."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.outcomes import ImageOutcome, count_outcomes, outcomes_to_table
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.preview import captions_table, first_rows, printable
from caption_core.archive.storage import Storage
from caption_core.errors import ImageError
from caption_core.records import Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings


def write_parts(folder: Path, outcomes: list[ImageOutcome], shard_size: int) -> None:
    for shard_id, start in enumerate(range(0, len(outcomes), shard_size)):
        chunk = outcomes[start : start + shard_size]
        footer = PartFooter("f", {}, count_outcomes(chunk))
        write_part(Storage.at(folder), shard_id, outcomes_to_table(chunk, "m", shard_id, SearchSettings()), footer)


def outcome(name: str, result: Caption | ImageError) -> ImageOutcome:
    return ImageOutcome(ImageRef(name, ""), result)


def test_the_first_rows_come_in_order_over_parts(tmp_path: Path) -> None:
    write_parts(tmp_path, [outcome(str(index), Caption("x", 0, 1)) for index in range(10)], 3)
    assert [row["image_id"] for row in first_rows(Storage.at(tmp_path), 5)] == list("01234")
    assert len(first_rows(Storage.at(tmp_path), 100)) == 10
    assert first_rows(Storage.at(tmp_path), 0) == []


def test_columns_are_aligned(tmp_path: Path) -> None:
    outcomes = [
        outcome("a.png", Caption("a dog", -0.5, 2)),
        outcome("犬.png", Caption("another dog", -12.25, 2)),
        outcome("longer.png", ImageError(ErrorKind.CORRUPT, "cut off")),
    ]
    write_parts(tmp_path, outcomes, 3)
    assert captions_table(first_rows(Storage.at(tmp_path), 3)).splitlines() == [
        "image        score  caption",
        "a.png        -0.50  a dog",
        "犬.png      -12.25  another dog",
        "longer.png          (corrupt: cut off)",
    ]


def test_the_end_of_a_long_name_is_shown(tmp_path: Path) -> None:
    write_parts(tmp_path, [outcome("folder/" * 20 + "name.png", Caption("x", 0, 1))], 1)
    assert "…" in captions_table(first_rows(Storage.at(tmp_path), 1))
    assert "/name.png " in captions_table(first_rows(Storage.at(tmp_path), 1))


@given(st.text())
def test_nothing_that_moves_the_cursor_is_printed(text: str) -> None:
    assert printable(text).isprintable()


def test_what_is_harmless_stays() -> None:
    assert printable("żółw 🐢 \\ 犬") == "żółw 🐢 \\ 犬"
    assert printable("a\x1b[2J\n\u202eb") == r"a\x1b[2J\n\u202eb"

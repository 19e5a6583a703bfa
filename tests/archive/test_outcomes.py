"""Outcomes become rows and counts without loss."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.outcomes import (
    ImageOutcome,
    OutcomeCounts,
    count_outcomes,
    count_rows,
    failed_positions,
    outcomes_to_table,
    output_schema,
    replace_rows,
    sum_counts,
)
from caption_core.errors import ImageError, UsageError
from caption_core.records import OUTPUT_SCHEMA, Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings

SEARCH = SearchSettings(beam_width=5, max_tokens=9, length_penalty=0.5)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
RESULTS = st.builds(Caption, TEXT, st.floats(width=32, allow_nan=False), st.integers(0, 200)) | st.builds(
    ImageError, st.sampled_from(ErrorKind), st.text(max_size=8)
)
OUTCOMES = st.lists(st.builds(ImageOutcome, st.builds(ImageRef, TEXT, TEXT), RESULTS, st.none() | st.integers(1, 9)))


@given(OUTCOMES)
def test_one_row_an_image_in_order(outcomes: list[ImageOutcome]) -> None:
    table = outcomes_to_table(outcomes, "model@1", 7, SEARCH)
    table.validate(full=True)
    assert table.schema.equals(OUTPUT_SCHEMA, check_metadata=True)
    assert table["image_id"].to_pylist() == [outcome.ref.image_id for outcome in outcomes]
    assert set(table["shard_id"].to_pylist()) <= {7}
    for row, outcome in zip(table.to_pylist(), outcomes, strict=True):
        failed = isinstance(outcome.result, ImageError)
        assert row["status"] == ("failed" if failed else "ok")
        assert (row["caption"] is None) == (row["score"] is None) == (row["num_tokens"] is None) == failed
        assert (row["error_kind"] is not None) == (row["error_message"] is not None) == failed


@given(OUTCOMES)
def test_counts_add_up(outcomes: list[ImageOutcome]) -> None:
    counts = count_outcomes(outcomes)
    table = outcomes_to_table(outcomes, "model@1", 0, SEARCH)
    assert counts.total == len(outcomes) == counts.ok + counts.failed
    assert counts.failed == table["error_kind"].length() - table["error_kind"].null_count
    assert counts + OutcomeCounts() == counts
    assert (counts + counts).failed == 2 * counts.failed
    assert sum_counts([counts, counts, OutcomeCounts()]) == counts + counts
    assert count_rows(table) == counts


def test_a_message_that_is_no_text_is_escaped() -> None:
    outcome = ImageOutcome(ImageRef("a", "b"), ImageError(ErrorKind.CORRUPT, "bad \udce9 byte"))
    assert outcomes_to_table([outcome], "m", 0, SEARCH)["error_message"].to_pylist() == [r"bad \udce9 byte"]


def test_a_row_says_how_it_was_searched_for() -> None:
    caption = Caption("a dog", -0.5, 2, (("a dog", -0.5), ("a cat", -0.75)))
    (row,) = outcomes_to_table([ImageOutcome(ImageRef("a", "b"), caption)], "m", 0, SEARCH).to_pylist()
    assert (row["beam_width"], row["max_tokens"], row["length_penalty"]) == (5, 9, 0.5)
    assert row["candidates"] == [{"caption": "a dog", "score": -0.5}, {"caption": "a cat", "score": -0.75}]
    assert row["created_at"].tzinfo is not None


def test_what_is_carried_along_has_columns_of_its_own() -> None:
    schema = output_schema(pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("year", pa.int16())]))
    outcomes = [
        ImageOutcome(ImageRef("a", ""), Caption("x", 0, 1), carried={"key": "k", "year": 1999}),
        ImageOutcome(ImageRef("b", ""), ImageError(ErrorKind.EMPTY, "zero bytes")),
    ]
    table = outcomes_to_table(outcomes, "m", 0, SEARCH, schema)
    assert table.schema.names[-2:] == ["key", "year"]
    assert [(row["key"], row["year"]) for row in table.to_pylist()] == [("k", 1999), (None, None)]


@pytest.mark.parametrize("name", ["caption", "shard_id"])
def test_a_carried_column_may_not_take_a_columns_name(name: str) -> None:
    with pytest.raises(UsageError, match=f"two columns '{name}'"):
        output_schema(pa.schema([pa.field(name, pa.string())]))


@given(OUTCOMES, OUTCOMES, st.data())
def test_rows_are_replaced_in_their_places(
    before: list[ImageOutcome], by: list[ImageOutcome], data: st.DataObject
) -> None:
    by = by[: len(before)]
    positions = sorted(data.draw(st.permutations(range(len(before))))[: len(by)])
    expected = list(before)
    for position, outcome in zip(positions, by, strict=True):
        expected[position] = outcome
    rows = replace_rows(table_of(before), positions, table_of(by))
    assert rows.equals(table_of(expected))


def carrying(kind: pa.DataType, *values: object) -> pa.Table:
    """Rows of failed images that carry a column."""
    error = ImageError(ErrorKind.TIMED_OUT, "too long")
    outcomes = [ImageOutcome(ImageRef("a", "b"), error, carried={"label": value}) for value in values]
    return outcomes_to_table(outcomes, "m", 0, SEARCH, output_schema(pa.schema([("label", kind)])))


def test_carried_values_stay_where_the_new_row_has_none() -> None:
    before = carrying(pa.string(), "a", "b", None, "d").set_column(4, "num_tokens", pa.array([1] * 4, pa.int32()))
    rows = replace_rows(before, [0, 2, 3], carrying(pa.string(), None, "C", "D"))
    assert rows["label"].to_pylist() == ["a", "b", "C", "D"]
    assert rows["num_tokens"].to_pylist() == [None, 1, None, None], "of a row's own columns nothing stays"


@pytest.mark.parametrize("kind", [pa.string_view(), pa.large_string()], ids=str)
def test_rows_with_views_are_replaced_too(kind: pa.DataType) -> None:
    """PyArrow can't take from them."""
    rows = replace_rows(carrying(pa.string_view(), "a", "b", "c"), [1], carrying(kind, "B"))
    assert rows["label"].to_pylist() == ["a", "B", "c"]
    assert rows.schema.field("label").type == kind


def test_rows_with_views_within_are_replaced_too() -> None:
    kind = pa.list_(pa.string_view())
    rows = replace_rows(carrying(kind, ["a"], ["b"]), [0], carrying(kind, ["A"]))
    assert rows["label"].to_pylist() == [["A"], ["b"]]


def table_of(outcomes: list[ImageOutcome]) -> pa.Table:
    return outcomes_to_table(outcomes, "m", 0, SEARCH).drop_columns(["created_at"])


@given(OUTCOMES, st.sets(st.sampled_from(ErrorKind)))
def test_failures_are_found_by_kind(outcomes: list[ImageOutcome], kinds: set[ErrorKind]) -> None:
    table = table_of(outcomes)
    errors = {i: o.result.kind for i, o in enumerate(outcomes) if isinstance(o.result, ImageError)}
    assert failed_positions(table) == sorted(errors)
    if kinds:
        assert failed_positions(table, kinds) == [index for index, kind in errors.items() if kind in kinds]

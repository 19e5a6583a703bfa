"""Outcomes become rows and counts without loss."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.outcomes import ImageOutcome, OutcomeCounts, count_outcomes, outcomes_to_table
from caption_core.errors import ImageError
from caption_core.records import OUTPUT_SCHEMA, Caption, ErrorKind, ImageRef

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
RESULTS = st.builds(Caption, TEXT, st.floats(width=32, allow_nan=False), st.integers(0, 200)) | st.builds(
    ImageError, st.sampled_from(ErrorKind), st.text(max_size=8)
)
OUTCOMES = st.lists(st.builds(ImageOutcome, st.builds(ImageRef, TEXT, TEXT), RESULTS, st.none() | st.integers(1, 9)))


@given(OUTCOMES)
def test_one_row_an_image_in_order(outcomes: list[ImageOutcome]) -> None:
    table = outcomes_to_table(outcomes, "model@1", 7)
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
    table = outcomes_to_table(outcomes, "model@1", 0)
    assert counts.total == len(outcomes) == counts.ok + counts.failed
    assert counts.failed == table["error_kind"].length() - table["error_kind"].null_count
    assert counts + OutcomeCounts() == counts
    assert (counts + counts).failed == 2 * counts.failed


def test_a_message_that_is_no_text_is_escaped() -> None:
    outcome = ImageOutcome(ImageRef("a", "b"), ImageError(ErrorKind.CORRUPT, "bad \udce9 byte"))
    assert outcomes_to_table([outcome], "m", 0)["error_message"].to_pylist() == [r"bad \udce9 byte"]

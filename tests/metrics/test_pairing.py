from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.pairing import (
    Coverage,
    MismatchPolicy,
    MissingPolicy,
    PairedTexts,
    PairingPolicy,
    pair_texts,
)
from caption_core.metrics.scores import MetricError

REFERENCES = [("a", "one"), ("b", "two"), ("a", "three"), ("c", "four")]
SKIP = PairingPolicy(MissingPolicy.SKIP, MismatchPolicy.SKIP, MismatchPolicy.SKIP)
EMPTY = PairingPolicy(missing=MissingPolicy.EMPTY)


def test_a_perfect_match() -> None:
    texts, coverage = pair_texts([("b", "y"), ("a", "x"), ("c", "z")], REFERENCES, PairingPolicy())
    assert texts == PairedTexts(["a", "b", "c"], ["x", "y", "z"], [["one", "three"], ["two"], ["four"]])
    assert (coverage.scored, coverage.references, coverage.with_references) == (3, 4, 3)
    coverage.check(PairingPolicy())


def test_missing_captions() -> None:
    captions = [("a", "x"), ("b", None)]
    _, coverage = pair_texts(captions, REFERENCES, PairingPolicy())
    assert (coverage.missing.examples, coverage.failed.examples) == (["c"], ["b"])
    with pytest.raises(MetricError, match=r"2 images without a caption \('b' among them\): --split"):
        coverage.check(PairingPolicy())
    texts, coverage = pair_texts(captions, REFERENCES, SKIP)
    assert (texts.image_ids, coverage.scored, coverage.missing.count) == (["a"], 1, 1)
    coverage.check(SKIP)
    texts, coverage = pair_texts(captions, REFERENCES, EMPTY)
    assert (texts.captions, coverage.scored) == (["x", "", ""], 3)
    coverage.check(EMPTY)


def test_captions_without_a_reference() -> None:
    captions = [*zip("abcd", "wxyz", strict=True)]
    texts, coverage = pair_texts(captions, REFERENCES, SKIP)
    assert (texts.image_ids, coverage.extra.examples) == (["a", "b", "c"], ["d"])
    coverage.check(SKIP)
    with pytest.raises(MetricError, match=r"1 captions without a reference \('d'"):
        coverage.check(PairingPolicy())


def test_further_captions_of_an_image() -> None:
    captions = [("a", "first"), ("b", "x"), ("a", "second"), ("c", "y")]
    texts, coverage = pair_texts(captions, REFERENCES, SKIP)
    assert texts.captions[0] == "first"
    assert coverage.duplicates.examples == ["a"]
    coverage.check(SKIP)
    with pytest.raises(MetricError, match="1 more than one caption for an image"):
        coverage.check(PairingPolicy())


def test_a_split() -> None:
    split = frozenset({"a", "b", "d"})
    texts, coverage = pair_texts([("a", "x"), ("b", "y"), ("c", "z")], REFERENCES, PairingPolicy(), split)
    assert texts.image_ids == ["a", "b"]
    assert coverage.outside_split.examples == ["c"]
    with pytest.raises(MetricError, match="1 of the 3 images of the split have no reference"):
        coverage.check(PairingPolicy(), split)
    coverage.check(PairingPolicy(), frozenset({"a", "b"}))


def test_all_problems_are_told_at_once() -> None:
    _, coverage = pair_texts([("a", "x"), ("a", "x"), ("d", "y")], REFERENCES, PairingPolicy())
    with pytest.raises(MetricError, match=r"more than one caption.*; 1 captions without.*; 2 images without"):
        coverage.check(PairingPolicy())


def test_nothing_in_common_is_an_error_whatever_the_policy() -> None:
    _, coverage = pair_texts([("x/a", "x")], REFERENCES, SKIP)
    with pytest.raises(MetricError, match=r"no caption has a reference.*--by-name"):
        coverage.check(SKIP)


names = st.sampled_from("abcdef")
rows = st.lists(st.tuples(names, st.sampled_from(["x", "y", None])), max_size=12)


@given(rows, st.lists(st.tuples(names, st.just("r")), max_size=12), st.none() | st.frozensets(names))
def test_every_caption_and_every_image_is_accounted_for(
    captions: list[tuple[str, str | None]], references: list[tuple[str, str]], split: frozenset[str] | None
) -> None:
    texts, coverage = pair_texts(captions, references, SKIP, split)
    elsewhere = coverage.extra.count + coverage.outside_split.count + coverage.duplicates.count
    assert coverage.scored + coverage.failed.count + elsewhere == len(captions)
    assert coverage.scored + coverage.failed.count + coverage.missing.count == coverage.with_references
    assert len(texts.image_ids) == coverage.scored
    assert texts.image_ids == sorted(set(texts.image_ids))
    assert all(itertools.chain(texts.references))


def test_coverage_adds_up() -> None:
    total = Coverage()
    for start in range(4):
        _, coverage = pair_texts([(f"{start}{i}", "x") for i in range(3)], [(f"{start}0", "r")], SKIP)
        total.merge(coverage)
    report = total.as_dict()
    assert report["scored"] == 4
    assert report["extra"] == 8
    assert len(report["extra_examples"]) == 5  # type: ignore[arg-type]
    assert "missing_examples" not in report

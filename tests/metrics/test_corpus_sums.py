from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from caption_core.metrics.corpus_sums import ExactSum, scores_from_sums, statistics_columns
from caption_core.metrics.scores import corpus_scores, image_statistics

floats = st.floats(-1e12, 1e12, allow_subnormal=False)


@given(st.lists(st.lists(floats, max_size=10), max_size=8))
def test_a_sum_is_exact_however_it_is_grouped(groups: list[list[float]]) -> None:
    total = ExactSum()
    for group in groups:
        total.add(np.array(group, np.float64))
    values = [value for group in groups for value in group]
    assert total.value() == float(sum(map(Fraction, values), Fraction(0)))
    assert total.value() == math.fsum(values)


def test_cancellation_leaves_the_small_part() -> None:
    total = ExactSum()
    for value in (1e16, 1.0, -1e16):
        total.add(np.array([value]))
    assert total.value() == 1.0


def test_sums_of_parts_give_the_scores_of_the_whole() -> None:
    captions = {"1": "a dog is running", "2": "two cats", "3": ""}
    references = {"1": ["a dog runs"], "2": ["two cats sleep", "cats"], "3": ["a red car"]}
    columns = statistics_columns(image_statistics(captions, references))
    sums = {name: column.sum() for name, column in columns.items()}
    scores = {name: float(value) for name, value in scores_from_sums(sums, 3).items()}
    assert scores == corpus_scores(captions, references).as_dict()

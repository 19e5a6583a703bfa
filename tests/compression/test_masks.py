from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.masks import apply_masks, global_masks, magnitude_masks, magnitudes, sparsity_figures, sparsity_of
from compression.settings.pruning import Ranking
from tests.compression.builders import normal_weights, place_of

SCORES = st.lists(
    arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 4).map(np.float32)),
    min_size=1,
    max_size=4,
).map(lambda matrices: {f"decoder/m{index}/kernel": matrix for index, matrix in enumerate(matrices)})


@settings(deadline=None, max_examples=100)
@given(scores=SCORES, sparsity=st.floats(0.0, 1.0))
def test_masks_leave_out_exactly_the_lowest_of_all(scores: dict[str, np.ndarray], sparsity: float) -> None:
    masks = global_masks(scores, sparsity)

    assert {name: mask.shape for name, mask in masks.items()} == {name: s.shape for name, s in scores.items()}
    flat = np.concatenate([score.ravel() for score in scores.values()])
    kept = np.concatenate([mask.ravel() for mask in masks.values()])
    assert np.count_nonzero(~kept) == round(sparsity * flat.size)
    if kept.any() and not kept.all():
        assert flat[~kept].max() <= flat[kept].min()


@settings(deadline=None, max_examples=50)
@given(scores=SCORES, low=st.floats(0.0, 1.0), high=st.floats(0.0, 1.0))
def test_what_a_low_sparsity_leaves_out_a_higher_one_leaves_out_too(
    scores: dict[str, np.ndarray], low: float, high: float
) -> None:
    low, high = sorted((low, high))
    fewer, more = global_masks(scores, low), global_masks(scores, high)

    assert all((~more[name])[~fewer[name]].all() for name in scores)


def test_equal_scores_are_left_out_in_order() -> None:
    masks = global_masks({"a": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}, 0.5)

    np.testing.assert_array_equal(masks["a"], [[False, False], [False, True]])
    assert masks["b"].all()


def test_masked_weights_are_zeros_without_a_sign() -> None:
    masked, other = place_of("a", -(normal_weights(3, 4) ** 2)), place_of("b", normal_weights(2, 2))
    apply_masks([masked, other], {"a": np.eye(3, 4, dtype=bool)})

    weights = masked.variable.numpy()
    assert (weights[~np.eye(3, 4, dtype=bool)] == 0).all()
    assert not np.signbit(weights[weights == 0]).any()
    np.testing.assert_array_equal(other.variable.numpy(), normal_weights(2, 2))


def test_sparsity_counts_elements_of_all_places() -> None:
    places = [place_of("a", np.zeros((2, 3), np.float32)), place_of("b", np.ones((2, 5), np.float32))]

    assert sparsity_of(places) == pytest.approx(6 / 16)
    assert sparsity_figures(places)["layer_sparsities"] == [
        {"name": "a", "elements": 6, "sparsity": 1.0},
        {"name": "b", "elements": 10, "sparsity": 0.0},
    ]
    np.testing.assert_array_equal(magnitudes([place_of("a", -np.ones((1, 2), np.float32))])["a"], [[1, 1]])


def test_blind_has_one_threshold_and_distribution_one_for_each_deviation() -> None:
    places = [place_of("wide", 10 * normal_weights(40, 50)), place_of("narrow", normal_weights(40, 50, seed=1))]
    sizes = magnitudes(places)

    blind = magnitude_masks(places, 0.5, "blind")
    pruned = np.concatenate([sizes[name][~blind[name]] for name in sizes])
    kept = np.concatenate([sizes[name][blind[name]] for name in sizes])
    assert pruned.max() <= kept.min()
    assert blind["narrow"].mean() < 0.2
    assert blind["wide"].mean() > 0.8

    spread = magnitude_masks(places, 0.5, "distribution")
    multiples = {place.name: sizes[place.name] / place.variable.numpy().std() for place in places}
    pruned = np.concatenate([multiples[name][~spread[name]] for name in sizes])
    kept = np.concatenate([multiples[name][spread[name]] for name in sizes])
    assert pruned.max() <= kept.min()
    assert spread["narrow"].mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("method", get_args(Ranking))
def test_zeros_that_are_there_count(method: Ranking) -> None:
    weights = normal_weights(10, 10)
    weights[:4] = 0
    masks = magnitude_masks([place_of("a", weights)], 0.5, method)

    assert not masks["a"][:4].any()
    assert np.count_nonzero(~masks["a"]) == 50


def test_matrix_of_equal_weights_has_no_deviation_and_is_kept() -> None:
    places = [place_of("equal", np.full((5, 5), 0.1, np.float32)), place_of("other", normal_weights(5, 5))]
    masks = magnitude_masks(places, 0.4, "distribution")

    assert masks["equal"].all()
    assert np.count_nonzero(~masks["other"]) == 20

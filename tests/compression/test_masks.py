from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compression.masks import apply_masks, global_masks, magnitudes, sparsity_figures, sparsity_of
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

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from caption_core.errors import UsageError
from compression.settings.pruning import Magnitude
from compression.steps.magnitude import prune_at_once
from compression.steps.pruning_patterns import Blocks
from tests.compression.builders import normal_weights, place_of


def _pruned(weights: np.ndarray, attribute: str = "kernel", **settings: object) -> np.ndarray:
    place = place_of("decoder/a/kernel", weights, attribute)
    prune_at_once([place], Magnitude(part="decoder", **settings))  # type: ignore[arg-type]
    pruned: np.ndarray = place.variable.numpy()
    np.testing.assert_array_equal(pruned[pruned != 0], weights[pruned != 0])
    return pruned


def _blocks(weights: np.ndarray, height: int, width: int) -> np.ndarray:
    """[blocks, elements] of a matrix that consists of whole blocks."""
    rows, columns = weights.shape[0] // height, weights.shape[1] // width
    return weights.reshape(rows, height, columns, width).swapaxes(1, 2).reshape(rows * columns, -1)


@pytest.mark.parametrize("shape", [(20, 30), (3, 3, 4, 8)])
@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.93])
def test_single_weights_are_pruned_by_magnitude_to_one_element(shape: tuple[int, ...], sparsity: float) -> None:
    weights = normal_weights(*shape)
    zero = _pruned(weights, sparsity=sparsity) == 0

    assert abs(np.count_nonzero(zero) - sparsity * weights.size) <= 1
    assert np.abs(weights[zero]).max() < np.abs(weights[~zero]).min()


def test_equal_magnitudes_do_not_keep_each_other() -> None:
    weights = np.where(normal_weights(40, 50) > 0, 0.25, -0.25).astype(np.float32)

    assert np.count_nonzero(_pruned(weights, sparsity=0.3)) == 1400


@pytest.mark.parametrize("shape", [(16, 24), (1, 1, 16, 24)])
@pytest.mark.parametrize("block", [(1, 4), (4, 1), (2, 3)])
def test_blocks_are_zero_or_kept_as_a_whole(shape: tuple[int, ...], block: tuple[int, int]) -> None:
    weights = normal_weights(*shape)
    pruned = _pruned(weights, sparsity=0.5, pattern="block", block=block)

    blocks = _blocks(pruned.reshape(16, 24), *block)
    zero = (blocks == 0).all(axis=1)
    assert ((blocks == 0).any(axis=1) == zero).all()
    assert np.count_nonzero(zero) == len(blocks) // 2
    means = np.abs(_blocks(weights.reshape(16, 24), *block)).mean(axis=1)
    assert means[zero].max() < means[~zero].min()


def test_blocks_at_an_edge_are_chosen_by_what_they_hold() -> None:
    weights = np.full((8, 6), 1.0, np.float32)
    weights[:, 4:] = 0.1  # the rests of two columns: half of all blocks
    pruned = _pruned(weights, sparsity=0.5, pattern="block", block=(1, 4))

    assert (pruned[:, :4] == 1).all()
    assert (pruned[:, 4:] == 0).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [((3, 3, 8, 16), "encoder/a/kernel: .* not one of 3x3"), ((8, 4), "encoder/a/kernel: .* matrix of 8x4")],
)
def test_blocks_refuse_what_they_do_not_fit(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Blocks(place_of("encoder/a/kernel", normal_weights(*shape)), Magnitude(part="encoder", sparsity=0.5))


@pytest.mark.parametrize("shape", [(16, 6), (3, 3, 8, 5)])
@pytest.mark.parametrize(("zeros", "of"), [(2, 4), (1, 4), (3, 4), (1, 2)])
def test_so_many_of_neighbouring_inputs_are_zero(shape: tuple[int, ...], zeros: int, of: int) -> None:
    weights = normal_weights(*shape)
    pruned = _pruned(weights, sparsity=zeros / of, pattern="m_by_n", m_by_n=(zeros, of))

    groups, before = (np.moveaxis(array, -2, -1).reshape(-1, of) for array in (pruned, weights))
    assert (np.count_nonzero(groups == 0, axis=1) == zeros).all()
    kept, largest = (np.sort(np.abs(array), axis=1)[:, zeros:] for array in (groups, before))
    np.testing.assert_array_equal(kept, largest)


def test_a_rest_of_inputs_has_no_more_than_a_group_has() -> None:
    pruned = _pruned(normal_weights(7, 5), sparsity=0.5, pattern="m_by_n")

    assert (np.count_nonzero(pruned[:4], axis=0) == 2).all()
    assert (np.count_nonzero(pruned[4:], axis=0) == 2).all()


def test_neighbours_in_the_embedding_are_units_of_a_word() -> None:
    pruned = _pruned(normal_weights(5, 8), "embedding", sparsity=0.5, pattern="m_by_n")

    assert (np.count_nonzero(pruned.reshape(5, 2, 4), axis=2) == 2).all()


def test_views_and_masks_are_inverse_for_blocks() -> None:
    step = Magnitude(part="encoder", sparsity=0.5, pattern="block", block=(4, 4))
    pattern = Blocks(place_of("a", normal_weights(1, 1, 6, 10)), step)
    weights = tf.constant(normal_weights(1, 1, 6, 10))

    assert pattern.view(weights).shape == (8, 12)
    np.testing.assert_array_equal(pattern.mask(pattern.view(weights)), weights)

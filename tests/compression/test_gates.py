from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from compression.gates import Gates, annealing, rounded, sampled, straight_through
from compression.places import Place
from compression.settings.pruning import Supermask
from tests.compression.builders import normal_weights, place_of

WEIGHTS = np.array([[0.5, -2.0], [1.5, 0.25]], np.float32)


def gates_of(places: Sequence[Place], **settings: Any) -> Gates:
    return Gates(places, Supermask(**{"sparsity": 0.5, "gate_optimizer": "sgd", "initial_gate": 1.0, **settings}))


def test_annealing_is_an_inverted_cosine() -> None:
    assert annealing(0.0) == 0.0
    assert annealing(0.5) == pytest.approx(0.5)
    assert annealing(1.0) == 1.0
    assert annealing(0.1) < 0.1


def test_straight_through_is_the_decision_with_the_probability_s_gradient() -> None:
    probabilities = tf.constant((0.1, 0.3, 0.7))
    with tf.GradientTape() as tape:
        tape.watch(probabilities)
        mask = straight_through(probabilities, tf.constant((1.0, 0.0, 1.0)))
        loss = tf.reduce_sum(mask * (2.0, 3.0, 4.0))
    assert mask.numpy().tolist() == [1.0, 0.0, 1.0]
    assert tape.gradient(loss, probabilities).numpy().tolist() == [2.0, 3.0, 4.0]


def test_draws_are_zeros_and_ones_as_often_as_the_gate_says() -> None:
    gates = tf.constant(np.repeat(np.array([[-2.0], [0.0], [3.0]], np.float32), 10_000, axis=1))
    mask = sampled(gates, tf.constant((1, 2))).numpy()
    assert set(np.unique(mask)) == {0.0, 1.0}
    np.testing.assert_allclose(mask.mean(axis=1), 1 / (1 + np.exp((2.0, 0.0, -3.0))), atol=0.02)
    np.testing.assert_array_equal(mask, sampled(gates, tf.constant((1, 2))).numpy())
    assert (mask != sampled(gates, tf.constant((1, 3))).numpy()).any()


def test_gate_s_gradient_is_the_analytic_one() -> None:
    place = place_of("a", WEIGHTS)
    gates = gates_of([place])
    gates.variables[0].assign([[0.5, -1.0], [2.0, 0.0]])
    upstream = np.array([[1.0, 2.0], [-3.0, 4.0]], np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(gates.values(tf.constant((1, 5)))["a"] * upstream)
    gate, weight = tape.gradient(loss, [gates.variables[0], place.variable])

    share = 1 / (1 + np.exp(-gates.variables[0].numpy()))
    np.testing.assert_allclose(gate, upstream * WEIGHTS * share * (1 - share), rtol=1e-5)
    mask = gates.values(tf.constant((1, 5)))["a"].numpy() / WEIGHTS
    np.testing.assert_allclose(weight, upstream * mask)


def test_matrices_draw_for_themselves_and_each_update_anew() -> None:
    places = [place_of(name, np.ones((30, 30), np.float32)) for name in ("a", "b")]
    gates = gates_of(places)
    first, second = (gates.values(tf.constant((1, update))) for update in (0, 256))
    assert (first["a"].numpy() != first["b"].numpy()).any()
    assert (first["a"].numpy() != second["a"].numpy()).any()


def test_penalty_is_the_weighted_distance_of_the_rounded_gates_from_the_target() -> None:
    gates = gates_of([place_of("a", WEIGHTS)], sparsity=0.75, sparsity_weight=8.0)
    gates.variables[0].assign([[0.5, -1.0], [2.0, 0.1]])
    gates.before_update(0, 10)
    assert float(gates.penalty()) == 0.0
    gates.before_update(5, 10)
    with tf.GradientTape() as tape:
        penalty = gates.penalty()
    assert float(penalty) == pytest.approx(8.0 * 0.5 * (0.75 - 0.25))
    share = 1 / (1 + np.exp(-gates.variables[0].numpy()))
    expected = 8.0 * 0.5 * share * (1 - share) / 4  # down the slope the gates close
    np.testing.assert_allclose(tape.gradient(penalty, gates.variables[0]), expected, rtol=1e-5)


def test_penalty_and_its_gradient_are_zero_at_the_target() -> None:
    gates = gates_of([place_of("a", WEIGHTS)], sparsity=0.5)
    gates.variables[0].assign([[0.5, -1.0], [2.0, -3.0]])
    gates.before_update(9, 10)
    with tf.GradientTape() as tape:
        penalty = gates.penalty()
    assert float(penalty) == 0.0
    assert not tape.gradient(penalty, gates.variables[0]).numpy().any()


def test_sgd_has_no_momentum_and_a_constant_rate() -> None:
    gates = gates_of([place_of("a", WEIGHTS)], gate_learning_rate=100.0)
    for _ in range(2):
        before = gates.variables[0].numpy()
        gates.apply_gradients([tf.fill((2, 2), 0.25)])
        np.testing.assert_allclose(before - gates.variables[0].numpy(), 25.0)


def test_adam_moves_a_gate_by_its_rate_however_small_the_gradient() -> None:
    gates = gates_of([place_of("a", WEIGHTS)], gate_optimizer="adam", gate_learning_rate=0.1)
    gates.apply_gradients([tf.fill((2, 2), 1e-8)])
    np.testing.assert_allclose(gates.variables[0].numpy(), 0.9, rtol=1e-3)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 600.0), ("adam", 0.05)])
def test_gates_close_beside_what_the_loss_can_do_without(optimizer: str, rate: float) -> None:
    weights = np.ones((20, 50), np.float32)
    importance = np.geomspace(1e-5, 1e-2, 1000, dtype=np.float32).reshape(20, 50)
    gates = gates_of(
        [place_of("a", weights)], sparsity=0.8, sparsity_weight=10.0, gate_optimizer=optimizer, gate_learning_rate=rate
    )

    def learn(seed: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            missing = tf.reduce_sum(importance * (weights - gates.values(seed)["a"]))
            loss = missing + gates.penalty()
        gates.apply_gradients(tape.gradient(loss, gates.variables))

    update = tf.function(learn)
    for number in range(200):
        gates.before_update(number, 200)
        update(tf.constant((1, number)))
        gates.after_update(number, 200)
    assert gates.rounded_sparsity() == pytest.approx(0.8, abs=0.05)
    kept = gates.masks()["a"]
    assert kept.sum() == 200
    assert importance[kept].min() > 0.5 * importance[~kept].max()


def test_rounding_is_what_is_scored_far_from_the_target() -> None:
    place = place_of("a", WEIGHTS)
    gates = gates_of([place], sparsity=0.75)
    gates.variables[0].assign([[0.5, -0.1], [2.0, 0.1]])
    np.testing.assert_array_equal(rounded(gates.variables[0]), [[1, 0], [1, 1]])
    with gates.materialized():
        np.testing.assert_array_equal(place.variable.numpy(), WEIGHTS * [[1, 0], [1, 1]])
    np.testing.assert_array_equal(place.variable.numpy(), WEIGHTS)
    assert not gates.is_settled(0.5)
    assert gates.figures() == {"gates_sparsity": 0.25}


def test_at_the_end_the_order_of_gates_meets_the_target_exactly() -> None:
    place = place_of("a", WEIGHTS)
    gates = gates_of([place], sparsity=0.75)
    gates.variables[0].assign([[0.5, -0.1], [2.0, 0.1]])
    gates.after_update(8, 10)
    assert np.count_nonzero(~gates.masks()["a"]) == 1
    gates.after_update(9, 10)
    np.testing.assert_array_equal(gates.masks()["a"], [[False, False], [True, False]])
    assert gates.is_settled(1.0)


def test_near_the_target_gates_are_ranked_and_settled() -> None:
    place = place_of("a", normal_weights(20, 50))
    gates = gates_of([place], sparsity=0.5)
    logits = np.random.default_rng(1).normal(size=1000)
    gates.variables[0].assign((np.arange(1000) - 495.5 + 0.1 * logits).reshape(20, 50))  # 496 round to zero
    assert gates.rounded_sparsity() == pytest.approx(0.496)
    assert gates.is_settled(0.5)
    assert np.count_nonzero(~gates.masks()["a"]) == 500


def test_equal_gates_keep_the_larger_weights() -> None:
    gates = gates_of([place_of("a", WEIGHTS), place_of("b", 10 * WEIGHTS)], sparsity=0.5)
    gates.after_update(9, 10)
    masks = gates.masks()
    np.testing.assert_array_equal(masks["a"], [[False, False], [False, False]])
    np.testing.assert_array_equal(masks["b"], [[True, True], [True, True]])


def test_weights_that_are_zero_count_as_pruned_and_are_never_kept() -> None:
    weights = np.array([[0.0, 0.0], [1.0, 2.0]], np.float32)
    gates = gates_of([place_of("a", weights)], sparsity=0.75)
    assert gates.rounded_sparsity() == 0.5
    gates.after_update(9, 10)
    np.testing.assert_array_equal(gates.masks()["a"], [[False, False], [False, True]])

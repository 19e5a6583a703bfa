import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from compression.conversion import Conversion, convert
from compression.rounding import rounded_channels, rounded_images, rounded_rows, rounded_whole


def litert_product(weights: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    owner = tf.Module()
    owner.kernel = tf.Variable(weights)
    owner.weights = [owner.kernel]
    inputs = [tf.TensorSpec((None, len(weights)), tf.float32, name="rows")]
    graph = tf.function(lambda rows: {"product": rows @ owner.kernel}, input_signature=inputs)
    content = convert(owner, graph.get_concrete_function(), Conversion("dynamic"))
    product: NDArray[np.float32] = Interpreter(model_content=content).get_signature_runner()(rows=rows)["product"]
    return product


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_products_are_rounded_as_litert_rounds_them(shift: float) -> None:
    generator = np.random.default_rng(0)
    weights = generator.normal(size=(64, 32)).astype(np.float32)
    rows = (generator.normal(size=(5, 64)) + shift).astype(np.float32)
    rows[2] *= 50  # a row's range is its own
    rows[3] = 0
    simulated = rounded_rows(tf.constant(rows)) @ rounded_channels(tf.constant(weights), (0,))
    np.testing.assert_allclose(simulated, litert_product(weights, rows), rtol=1e-4, atol=1e-3)
    assert not np.allclose(simulated, rows @ weights, rtol=1e-4, atol=1e-3)


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    values = tf.constant(np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        rounded = [rounded_rows(values), rounded_channels(values, (0,)), rounded_images(values), rounded_whole(values)]
        sums = [tf.reduce_sum(3 * part) for part in rounded]
    for total in sums:
        np.testing.assert_array_equal(tape.gradient(total, values), np.full((3, 4), 3, np.float32))


def test_ranges_reach_over_rows_images_or_all() -> None:
    values = np.array([[[0, 0.1], [0, 1]], [[0, 0.1], [0, 1000]]], np.float32)
    np.testing.assert_allclose(rounded_rows(tf.constant(values)), values, rtol=1e-6)
    assert abs(rounded_images(tf.constant(values)).numpy()[0, 0, 1] - 0.1) < 1 / 255
    assert rounded_images(tf.constant(values)).numpy()[1, 0, 1] == 0
    assert rounded_whole(tf.constant(values)).numpy()[0, 1, 1] == 0


def test_rounding_twice_is_rounding_once() -> None:
    weights = tf.constant(np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32))
    once = rounded_channels(weights, (0,))
    np.testing.assert_allclose(rounded_channels(once, (0,)), once, rtol=1e-6)

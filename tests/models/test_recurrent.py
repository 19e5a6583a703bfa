import numpy as np
import tensorflow as tf
import tf_keras

from caption_core.models.recurrent import forget_bias, gru, lstm


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_the_lstm_is_keras() -> None:
    cell = tf_keras.layers.LSTMCell(4)
    x, h, c = random(2, 3), random(2, 4), random(2, 4) * 2
    expected = cell(tf.constant(x), [tf.constant(h), tf.constant(c)])[1]
    gates = x @ cell.kernel + h @ cell.recurrent_kernel + cell.bias
    for found, wanted in zip(lstm(gates, c), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_gru_is_keras() -> None:
    cell = tf_keras.layers.GRUCell(4, reset_after=True)
    x, h = random(2, 3), random(2, 4)
    _, expected = cell(tf.constant(x), [tf.constant(h)])
    from_input = x @ cell.kernel + cell.bias[0]
    np.testing.assert_allclose(gru(from_input, h @ cell.recurrent_kernel + cell.bias[1], h), expected[0], atol=1e-6)


def test_an_lstm_begins_by_remembering() -> None:
    assert forget_bias(2)((8,)).numpy().tolist() == [0, 0, 1, 1, 0, 0, 0, 0]

import numpy as np
import tensorflow as tf
import tf_keras

from compression.changed_calls import ChangedCall, changed_calls


def test_changes_last_as_long_as_the_context_and_in_graphs_that_were_traced_in_it() -> None:
    layer = tf_keras.layers.Dense(2, kernel_initializer="ones")
    layer.build((None, 3))
    model = tf_keras.Sequential([tf_keras.Input((3,)), layer])
    traced = tf.function(lambda values: model(values))
    values = tf.ones((1, 3))
    calls = [
        ChangedCall(layer, "call", before=lambda given: given * 2),
        ChangedCall(layer, "call", after=lambda made: made + 1),
    ]
    with changed_calls(calls):
        np.testing.assert_array_equal(traced(values), [[7, 7]])
    np.testing.assert_array_equal(layer(values), [[3, 3]])
    np.testing.assert_array_equal(traced(values), [[7, 7]])

"""Graphs of functions that are TensorFlow's operations already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def as_graph(function: Callable[..., Any], signature: Any = None) -> Any:
    """`tf.function` without AutoGraph.

    No `if` or `for` of Python depends on a tensor's value in models and losses here. AutoGraph would look for some in
    all that they call, which took a quarter of the time of a training of a few small epochs.

    Args:
        function: what is traced when it is first called.
        signature: of its arguments, `tf.TensorSpec` each; None for one graph for each kind of arguments.
    """
    return tf.function(function, input_signature=signature, autograph=False)


def as_frozen_graph(function: Callable[..., tf.Tensor], signature: Any) -> Callable[..., tf.Tensor]:
    """The graph of a function of one result, with its variables' present values as constants.

    TensorFlow folds batch norm into the convolutions before it, then. From variables it makes fused operations that
    oneDNN has no fast kernel for where AVX2 is all and the batch is one image: some 50 times as slow as two images.

    Args:
        function: what is traced at once.
        signature: of its arguments, `tf.TensorSpec` each.
    """
    frozen = convert_variables_to_constants_v2(as_graph(function, signature).get_concrete_function())

    def run(*arguments: tf.Tensor) -> tf.Tensor:
        (result,) = frozen(*arguments)
        return result

    return run

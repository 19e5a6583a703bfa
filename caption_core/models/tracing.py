"""Graphs of functions that are TensorFlow's operations already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def as_graph(function: Callable[..., Any], signature: Any = None) -> Any:
    """`tf.function` without AutoGraph.

    No `if` or `for` of Python depends on a tensor's value in models and losses here. AutoGraph would look for some in
    all that they call, which took a quarter of the time of a training of a few small epochs.

    Args:
        function: what is traced when it is first called.
        signature: of its arguments, `tf.TensorSpec` each; None for one graph for each kind of arguments.
    """
    return tf.function(function, input_signature=signature, autograph=False)

"""Graphs of functions that are TensorFlow's operations already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Callable[..., Any], signature: Any = None) -> Any:
    """`tf.function` without AutoGraph.

    Models and losses here branch and loop on no tensor's value. AutoGraph would look for that in the code of every
    layer of Keras, and take a quarter of the time from a training's start to its first update.

    Args:
        function: what is traced when it is first called.
        signature: of its arguments, `tf.TensorSpec` each; None for one graph for each kind of arguments.
    """
    return tf.function(function, input_signature=signature, autograph=False)

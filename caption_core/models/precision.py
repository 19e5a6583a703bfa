"""Mixed precision: weights in float32, activations in fewer bits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import tf_keras

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


@contextmanager
def layers_computing_in(precision: str) -> Iterator[None]:
    """Keras layers made inside compute in `precision`, with variables in float32.

    Args:
        precision: 'float32', 'bfloat16' or 'float16'.
    """
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)

"""Reads curves back as TensorBoard does."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    """Every curve's values by step."""
    curves: dict[str, dict[int, float]] = {}
    for path in sorted(folder.iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name in ("scalars", "")
                curves.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    return curves

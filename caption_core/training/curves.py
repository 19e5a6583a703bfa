"""Curves of a run as TensorBoard reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

_SCALAR = "scalars"  # the plugin of TensorBoard that draws curves


class Curves:
    """Writes scalars into an event file; a resumed run adds a file of its own, which TensorBoard joins with the others.

    TensorFlow's own operation is used, since its scalars need the package of TensorBoard to be written too.

    Args:
        folder: where event files go; None writes nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        """Make the folder's next event file."""
        self._writer = tf.summary.create_file_writer(str(folder)) if folder else tf.summary.create_noop_writer()
        self._metadata = tf.compat.v1.SummaryMetadata(
            plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name=_SCALAR)
        )
        self._metadata.data_class = 1  # scalars, in a number that TensorFlow names in no public module

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Write scalars by name.

        Args:
            step: updates made in the whole run.
            values: numbers, or scalar tensors.
        """
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.cast(value, tf.float32), step=step, metadata=self._metadata)

    def flush(self) -> None:
        """See to it that all of it is on disk."""
        self._writer.flush()

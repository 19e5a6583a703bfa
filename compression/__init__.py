"""Compression of trained captioners."""

import caption_core  # noqa: F401  sets TensorFlow up before a module here imports it

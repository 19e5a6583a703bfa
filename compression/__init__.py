"""Compression of trained captioners. Importing this package sets TensorFlow up."""

import caption_core.models  # noqa: F401  before TensorFlow is first imported

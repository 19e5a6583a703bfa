"""Compression of trained captioners. Importing this package selects Keras 2 for TensorFlow."""

import caption_core.models  # noqa: F401  sets TF_USE_LEGACY_KERAS before TensorFlow is first imported

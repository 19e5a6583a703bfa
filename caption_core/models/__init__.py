"""Keras 2 models: encoders and decoders. Importing this package selects Keras 2 for TensorFlow."""

import os

# TF-MOT works on Keras 2 only; TensorFlow reads the variable when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

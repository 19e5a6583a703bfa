"""Keras 2 models: encoders and decoders. Importing this package sets TensorFlow up for them."""

import os

from caption_core.process_environment import tensorflow_environment

for _name, _value in tensorflow_environment().items():
    os.environ.setdefault(_name, _value)

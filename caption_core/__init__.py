"""Capstan's core: image archives in, captions out. Importing it sets TensorFlow up, which reads that only once."""

import os

from caption_core.process_environment import tensorflow_environment

__version__ = "0.1.0"

for _name, _value in tensorflow_environment().items():
    os.environ.setdefault(_name, _value)

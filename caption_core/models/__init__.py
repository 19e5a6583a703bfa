"""Keras 2 models: encoders and decoders."""

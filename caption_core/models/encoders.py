"""Convolutional encoders: images to grid features, cut in two where fine-tuning begins."""

from __future__ import annotations

import tf_keras

from caption_core.errors import UsageError
from caption_core.models.architectures import ENCODERS, check_encoder


def build_encoder(name: str, weights: str | None = None) -> tf_keras.Model:
    """Build an encoder: float32 [batch, height, width, 3] of 0 to 255, RGB, to float32 [batch, locations, channels].

    Args:
        name: one of `ENCODERS`.
        weights: 'imagenet' (Keras downloads them), the path of a Keras weights file, or None for random ones.

    Raises:
        UsageError: an unknown name, or weights that don't exist or don't fit.
    """
    check_encoder(name, weights)
    architecture = ENCODERS[name]
    pixels = tf_keras.Input((*architecture.image_size, 3), name="pixels")
    scaled = tf_keras.layers.Rescaling(architecture.scale, architecture.offset, name="preprocessing")(pixels)
    try:
        build = getattr(tf_keras.applications, architecture.application)
        backbone = build(input_tensor=scaled, include_top=False, weights=weights)
    except (ValueError, OSError) as error:
        raise UsageError(f"encoder weights {weights} don't fit {name}: {error}") from error
    height, width, channels = backbone.output_shape[1:]
    grid = tf_keras.layers.Reshape((height * width, channels), name="grid")(backbone.output)
    return tf_keras.Model(pixels, grid, name=name)


def split_encoder(encoder: tf_keras.Model, first_trained: str | None) -> tuple[tf_keras.Model, tf_keras.Model | None]:
    """Cut an encoder before the layer `first_trained`: a frozen lower part, and an upper part that trains.

    Both share the encoder's weights. With None everything is frozen and there is no upper part.

    Raises:
        UsageError: no such layer, or a connection bypasses the cut.
    """
    if first_trained is None:
        return encoder, None
    names = [layer.name for layer in encoder.layers]
    if first_trained not in names:
        raise UsageError(f"encoder {encoder.name} has no layer {first_trained!r}")
    cut = encoder.get_layer(first_trained).input
    try:
        return tf_keras.Model(encoder.input, cut), tf_keras.Model(cut, encoder.output)
    except ValueError as error:
        raise UsageError(f"encoder {encoder.name} can't be cut before {first_trained!r}: {error}") from error

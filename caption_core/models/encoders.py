"""Convolutional encoders: images to grid or global features, cut in two where fine-tuning begins."""

from __future__ import annotations

import tensorflow as tf
import tf_keras

from caption_core.errors import UsageError
from caption_core.models.architectures import (
    IMAGENET_WEIGHTS,
    EncoderConfig,
    check_block,
    check_encoder,
    first_layer_of,
)


def build_encoder(config: EncoderConfig, weights: str | None = None) -> tf_keras.Model:
    """Build an encoder: float32 [batch, height, width, 3] of 0 to 255, RGB, to float32 [batch, locations, channels].

    Global features are a grid of one location.

    Args:
        config: which encoder.
        weights: 'imagenet' (Keras downloads them), the path of a file of the Keras application's weights, or None for
            random ones, which `tf_keras.utils.set_random_seed` decides.

    Raises:
        UsageError: weights that don't exist, don't fit or can't be downloaded.
    """
    check_encoder(config, weights)
    # Keras numbers nameless layers through a whole process; names are part of a feature cache's key.
    tf_keras.backend.reset_uids()
    pixels = tf_keras.Input((*config.size, 3), name="pixels")
    scale, offset = config.architecture.scale, config.architecture.offset
    scaled = tf_keras.layers.Rescaling(scale, offset, name="preprocessing")(pixels)
    application = _load_application(config, scaled, weights)
    if weights is not None:
        _turn_to_rgb(application, config.architecture.bgr_layer)
    return tf_keras.Model(pixels, _features(config, application), name=config.name)


def _load_application(config: EncoderConfig, scaled: tf_keras.KerasTensor, weights: str | None) -> tf_keras.Model:
    try:
        return _application(config, scaled, weights)
    except (ValueError, OSError) as error:
        raise UsageError(f"encoder weights {weights} don't fit {config.name}: {error}") from error
    except Exception as error:  # Keras' downloads raise no narrower one
        if weights != IMAGENET_WEIGHTS:
            raise
        raise UsageError(f"ImageNet weights of {config.name} can't be downloaded (give a file): {error}") from error


def _application(config: EncoderConfig, scaled: tf_keras.KerasTensor, weights: str | None) -> tf_keras.Model:
    architecture = config.architecture
    build = getattr(tf_keras.applications, architecture.application)
    options = {"include_top": config.source.head, "weights": weights, **architecture.options}
    if architecture.widths:
        options["alpha"] = config.width
    if architecture.first_layer is None:
        return build(input_tensor=scaled, **options)
    whole = build(input_shape=(*config.size, 3), **options)
    return _reconnected(whole, architecture.first_layer, scaled)


def _reconnected(model: tf_keras.Model, first_layer: str, inputs: tf_keras.KerasTensor) -> tf_keras.Model:
    """A copy of `model` from `first_layer` on, with other inputs. Every layer takes one argument."""
    outputs = {id(model.get_layer(first_layer).input): inputs}
    names = [layer.name for layer in model.layers]
    for layer in model.layers[names.index(first_layer) :]:
        copy = type(layer).from_config(layer.get_config())
        outputs[id(layer.output)] = copy(tf.nest.map_structure(lambda tensor: outputs[id(tensor)], layer.input))
        copy.set_weights(layer.get_weights())
    return tf_keras.Model(tf_keras.utils.get_source_inputs(inputs), outputs[id(model.output)])


def _turn_to_rgb(application: tf_keras.Model, layer: str | None) -> None:
    """Reorder the first kernel's input colours once, so that no graph has to reorder an image's."""
    if layer is not None:
        kernel = application.get_layer(layer).kernel
        kernel.assign(kernel.numpy()[:, :, ::-1])


def _features(config: EncoderConfig, application: tf_keras.Model) -> tf_keras.KerasTensor:
    source = config.source
    output = application.get_layer(source.layer).output if source.layer else application.output
    if source.pooled:
        output = tf_keras.layers.GlobalAveragePooling2D(name="pooling")(output)
    *places, channels = output.shape[1:]
    locations = places[0] * places[1] if places else 1
    return tf_keras.layers.Reshape((locations, channels), name=config.features)(output)


def split_encoder(encoder: tf_keras.Model, block: str | None) -> tuple[tf_keras.Model, tf_keras.Model | None]:
    """Cut an encoder before `block`: a frozen lower part, and an upper part that trains.

    Both share the encoder's weights. With None everything is frozen and there is no upper part.

    Args:
        encoder: what `build_encoder` returned.
        block: a block of the architecture.

    Raises:
        UsageError: no such block.
    """
    if block is None:
        return encoder, None
    check_block(encoder.name, block)
    cut = encoder.get_layer(first_layer_of(block, [layer.name for layer in encoder.layers])).input
    return tf_keras.Model(encoder.input, cut), tf_keras.Model(cut, encoder.output)

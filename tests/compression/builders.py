"""Small captioners for tests of steps, made from the session's trained one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.models.architectures import EncoderConfig
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.encoders import build_encoder
from caption_core.models.weights import WEIGHTS, Weights, assign_weights, load_weights, named_weights, weights_bytes
from caption_core.runtimes.tensorflow import load_model
from caption_core.vocabulary import Vocabulary
from compression.places import Place

_WITHOUT_DROPOUT = dict.fromkeys(("feature_dropout", "embedding_dropout", "output_dropout"), 0.0)


def bundle_with_decoder(parent: Path, folder: Path, decoder: str = "soft_attention", **settings: Any) -> Path:
    """A bundle of the parent's encoder and words with an untrained decoder, without dropout; returns its folder."""
    bundle = open_bundle(parent)
    words = Vocabulary.load(bundle.path(VOCABULARY))
    sizes = {"units": 12, "embedding_units": 6, "vocabulary_size": len(words), "feature_channels": 1280}
    config = decoder_config(decoder, {**_WITHOUT_DROPOUT, **sizes, **settings})
    built = build_decoder(decoder, config)
    generator = np.random.default_rng(0)
    for weight in built.weights:
        weight.assign(generator.normal(scale=0.3, size=weight.shape))
    weights = {name: array for name, array in load_weights(bundle.path(WEIGHTS)).items() if name.startswith("encoder/")}
    architecture = {"decoder": decoder, "decoder_config": asdict(config)}
    return rewritten(bundle, folder, weights | named_weights("decoder", built), architecture).folder


def with_weights(parent: Path, folder: Path, change: Callable[[str, NDArray[np.float32]], NDArray[np.float32]]) -> Path:
    """A bundle whose every weight is `change(name, weight)` of the parent's; returns its folder."""
    bundle = open_bundle(parent)
    weights = load_weights(bundle.path(WEIGHTS))
    return rewritten(bundle, folder, {name: change(name, array) for name, array in weights.items()}).folder


def rewritten(bundle: Bundle, folder: Path, weights: Weights, architecture: dict[str, Any] | None = None) -> Bundle:
    """A bundle of other weights, and otherwise as `bundle`."""
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["architecture"] |= architecture or {}
    files: dict[str, Path | bytes] = {name: bundle.path(name) for name in bundle.manifest.files}
    return write_bundle(folder, fields, {**files, WEIGHTS: weights_bytes(weights)})


def decoder_of(bundle: Bundle) -> Decoder:
    """A float bundle's decoder; no encoder is built, which takes seconds."""
    architecture = bundle.manifest.architecture
    decoder = build_decoder(architecture.decoder, decoder_config(architecture.decoder, architecture.decoder_config))
    assign_weights("decoder", decoder, load_weights(bundle.path(WEIGHTS)))
    return decoder


def loaded(bundle: Bundle) -> CaptioningModel:
    """A float bundle's model, built once a process: to be read only."""
    return _loaded(bundle.digest, bundle.folder)


@cache
def _loaded(digest: str, folder: Path) -> CaptioningModel:
    del digest  # of what the folder holds at present
    return load_model(open_bundle(folder))


def place_of(name: str, weights: NDArray[np.float32], attribute: str = "kernel") -> Place:
    """A weight matrix without a layer around it."""
    variable = tf.Variable(weights.astype(np.float32))
    return Place(name, SimpleNamespace(**{attribute: variable}), attribute, variable)


def normal_weights(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Weights as they are spread in a trained matrix, more or less."""
    return np.random.default_rng(seed).normal(scale=0.1, size=shape).astype(np.float32)


def small_images() -> NDArray[np.uint8]:
    """Eight images of noise in large and small grains, uint8 [8, 32, 32, 3]."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 200, (8, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    return (coarse + generator.integers(0, 56, (8, 32, 32, 3))).astype(np.uint8)


def small_encoder() -> tf_keras.Model:
    """The first blocks of `slim_encoder`, with features [64, 8]."""
    whole = slim_encoder()
    rows = tf_keras.layers.Reshape((64, 8), name="grid")(whole.get_layer("block_2_add").output)
    return tf_keras.Model(whole.input, rows, name=whole.name)


def slim_encoder() -> tf_keras.Model:
    """MobileNetV2 of width 0.35 for 32 x 32 pixels, with random weights whose batch norm fits `small_images`."""
    encoder = build_encoder(EncoderConfig("mobilenet_v2", width=0.35, image_size=(32, 32)))
    encoder.set_weights(_slim_weights())
    return encoder


@cache
def _slim_weights() -> list[NDArray[np.float32]]:
    tf_keras.utils.set_random_seed(1)
    encoder = build_encoder(EncoderConfig("mobilenet_v2", width=0.35, image_size=(32, 32)))
    for layer in encoder.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.0
    encoder(small_images().astype(np.float32), training=True)
    weights: list[NDArray[np.float32]] = encoder.get_weights()
    return weights


def bundle_with_slim_encoder(parent: Path, folder: Path) -> Path:
    """A bundle of the parent's decoder and words with `slim_encoder`; returns its folder."""
    bundle = open_bundle(parent)
    weights = {name: array for name, array in load_weights(bundle.path(WEIGHTS)).items() if name.startswith("decoder/")}
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["architecture"]["encoder_config"] = {"features": "grid", "width": 0.35}
    fields["preprocessing"] |= {"height": 32, "width": 32}
    files: dict[str, Path | bytes] = {name: bundle.path(name) for name in bundle.manifest.files}
    content = weights_bytes(weights | named_weights("encoder", slim_encoder()))
    return write_bundle(folder, fields, {**files, WEIGHTS: content}).folder

"""The TensorFlow runtime: float bundles, on CPU or GPU."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import BundleError, UsageError
from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.encoders import build_encoder
from caption_core.models.precision import layers_computing_in
from caption_core.models.tracing import as_frozen_graph
from caption_core.models.weights import assign_weights, bundle_weights
from caption_core.search import State, Step


def load_model(bundle: Bundle) -> CaptioningModel:
    """Rebuild a float bundle's model and set its weights.

    Raises:
        BundleError: the bundle's architecture and weights do not fit together, or are unknown here.
    """
    architecture = bundle.manifest.architecture
    try:
        encoder = build_encoder(bundle.manifest.encoder)
        config = decoder_config(architecture.decoder, architecture.decoder_config)
    except UsageError as error:
        raise BundleError(f"{bundle.folder}: {error}") from error
    decoder = build_decoder(architecture.decoder, config)
    weights = bundle_weights(bundle)
    assign_weights("encoder", encoder, weights)
    assign_weights("decoder", decoder, weights)
    return CaptioningModel(encoder, decoder)


class TensorFlowRuntime:
    """Runs a float bundle (see `Runtime`).

    Args:
        bundle: a bundle of the 'tensorflow' kind.
        threads: threads an operation may use; TensorFlow takes the first runtime's value for the whole process.
        precision: of activations: 'float32', 'bfloat16' or 'float16'. Weights, features and logits are float32.
    """

    def __init__(self, bundle: Bundle, *, threads: int, precision: str = "float32") -> None:
        _limit_threads(threads)
        with layers_computing_in(precision):
            model = load_model(bundle)
        height, width = bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width
        pixels = tf.TensorSpec((None, height, width, 3), tf.uint8)
        encoder = model.encoder
        self._encode = as_frozen_graph(
            lambda images: tf.cast(encoder(tf.cast(images, tf.float32), training=False), tf.float32),
            [pixels],
        )
        self._decoder = DecoderFunctions(model.decoder)

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Runtime.encode`."""
        features: NDArray[np.float32] = self._encode(tf.constant(images)).numpy()
        return features

    def start(self, features: NDArray[np.float32]) -> tuple[State, Step]:
        """See `Runtime.start`."""
        return self._decoder.start(features)


def has_gpu() -> bool:
    """Whether TensorFlow can use a GPU in this process."""
    return bool(tf.config.list_physical_devices("GPU"))


def _limit_threads(threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        # TensorFlow has run something already: its threads are fixed, and a second captioner shares them.
        return

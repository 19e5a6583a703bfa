"""Quantization-aware training: the encoder's by TF-MOT, the decoder's by a cell of our own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from caption_core.models.weights import Weights, named_weights, weights_bytes
from caption_core.runtimes.tensorflow import load_model
from compression.calibration import draw_images
from compression.constraint import Constraint
from compression.context import StepContext, record_step, write_float_child
from compression.encoder_quantization import calibrate, copy_weights, quantized_copy, ranges_of, scheme_of, settle
from compression.fine_tuning import Tuner, split_at
from compression.fixed_clusters import FixedClusters
from compression.places import places_of
from compression.settings.quantization import QuantizationAware

_CALIBRATION_IMAGES, _BATCH_IMAGES = 200, 10


def apply(step: QuantizationAware, context: StepContext) -> Bundle:
    """Train a part with int8's rounding; the child is a float bundle, from which `quantize` makes what was trained for.

    Raises:
        UsageError: there are no data, the encoder is not said where to train from, or it can't be rounded.
    """
    if step.part == "decoder":
        # Whoever trains an encoder needs none of it.
        from compression.decoder_quantization import quantize_decoder_aware

        return quantize_decoder_aware(step, context)
    return _quantize_encoder_aware(step, context)


def _quantize_encoder_aware(step: QuantizationAware, context: StepContext) -> Bundle:
    if step.training.encoder_from is None:
        raise UsageError("quantization_aware of the encoder: say training.encoder_from, a block or 'pixels'")
    model = load_model(context.parent)
    quantized = quantized_copy(model.encoder)
    preserved = Counter(map(scheme_of, _rounding(model.encoder)))
    calibrate(quantized, model.encoder, _calibration(context, model.encoder.input_shape[1:3]))
    rounding = _Rounding(quantized, model)
    lower, upper = split_at(quantized, step.training.encoder_from)
    history = Tuner(context, model, step.training, rounding, encoder=(lower, _InTraining(upper))).run()
    did = f"encoder, from {step.training.encoder_from}"
    bundle = write_float_child(context, step, model, did=did, further=rounding.ranges())
    record_step(context, step, history=history, schemes=dict(preserved))
    return bundle


def _rounding(encoder: tf_keras.Model) -> Iterator[tf_keras.layers.Layer]:
    """Layers whose weights round."""
    return (layer for layer in encoder.layers if isinstance(layer, (tf_keras.layers.Conv2D, tf_keras.layers.Dense)))


def _calibration(context: StepContext, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    files = [context.captions().images / name for name in context.train_names]
    images = draw_images(files, _CALIBRATION_IMAGES, context.seed, size)
    return (np.stack(images[begin : begin + _BATCH_IMAGES]) for begin in range(0, len(images), _BATCH_IMAGES))


class _InTraining:
    """The trained part of a quantized encoder as the training loop calls it: ranges follow what passes in an update.

    Args:
        model: that part.
    """

    def __init__(self, model: tf_keras.Model) -> None:
        self._model = model
        self.trainable_variables = model.trainable_variables
        self.input_shape, self.output_shape = model.input_shape, model.output_shape

    def __call__(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Features, rounded, of inputs [batch, ...]; `training` is about batch norm, which is fixed in any case."""
        del training
        return self._model(inputs, training=True)

    def predict_on_batch(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features as after training: no range changes."""
        return self._model.predict_on_batch(inputs)


class _Rounding(Constraint):
    """Scores and keeps an encoder as it rounds, and remembers the ranges that belong to each epoch's weights.

    A decoder that trains along keeps its clusters.

    Args:
        quantized: the encoder that trains, calibrated.
        model: its encoder gets the weights of `quantized` when an epoch is scored.
    """

    def __init__(self, quantized: tf_keras.Model, model: CaptioningModel) -> None:
        self._quantized, self._encoder = quantized, model.encoder
        self._clusters = FixedClusters(places_of(model, "decoder"))
        self._ranges = {self._digest(): ranges_of(quantized)}

    @property
    def state(self) -> None:
        """See `Constraint`: each epoch's ranges are more than variables."""
        return None

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        self._clusters.after_update(update, updates)

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """See `Constraint`."""
        settle(self._quantized)
        copy_weights(self._quantized, self._encoder)
        self._ranges[self._digest()] = ranges_of(self._quantized)
        yield

    def ranges(self) -> Weights:
        """Ranges that belong to the weights that the encoder has now."""
        return self._ranges[self._digest()]

    def _digest(self) -> bytes:
        return hashlib.sha256(weights_bytes(named_weights("encoder", self._encoder))).digest()

"""An encoder that learns to give another encoder's features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.errors import UsageError
from caption_core.training.data import TrainingData
from caption_core.training.features import FeatureCache, cached_features
from caption_core.training.objectives import ImageBatch
from caption_core.training.optimization import Loss, parts_of
from caption_core.training.selection import dev_features
from compression.context import StepContext
from compression.teacher import load_float


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """One worker's share of a batch of images.

    Attributes:
        activations: float32 [B, ...], the frozen encoder part's outputs.
        wanted: float32 [B, L, channels], the teacher's features.
        divisor: of the whole batch's loss, the same on every worker.
        seed: int32 [2], this batch's draws, of which the loss itself has none.
    """

    activations: NDArray[np.float32]
    wanted: NDArray[np.float32]
    divisor: float
    seed: tuple[int, int]

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The arguments of `FeatureLoss`."""
        return (
            tf.constant(self.activations, tf.float32),
            tf.constant(self.wanted, tf.float32),
            tf.constant(self.divisor, tf.float32),
            tf.constant(self.seed, tf.int32),
        )

    def parts(self, count: int) -> Iterator[FeatureBatch]:
        """Cut into at most `count` equal parts, whose losses add up to the batch's."""
        for rows, seed in parts_of(len(self.wanted), count, self.seed):
            yield replace(self, activations=self.activations[rows], wanted=self.wanted[rows], seed=seed)


class FeatureLoss:
    """Squared differences of features, relative to the squared features of the teacher over the whole batch.

    Args:
        upper: trained part of the encoder.
        shape: of an image's features, (L, channels).
    """

    def __init__(self, upper: tf_keras.Model, shape: tuple[int, ...]) -> None:
        self._upper = upper
        self.variables = list(upper.trainable_variables)
        self.signature = [
            tf.TensorSpec((None, *upper.input_shape[1:]), tf.float32),  # activations
            tf.TensorSpec((None, *shape), tf.float32),  # wanted
            tf.TensorSpec((), tf.float32),  # divisor
            tf.TensorSpec((2,), tf.int32),  # seed
        ]

    def __call__(self, activations: tf.Tensor, wanted: tf.Tensor, divisor: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """This worker's part of the loss, a scalar."""
        del seed
        # Batch norm stays in inference mode, as it is in the captioner.
        found = tf.cast(self._upper(activations, training=False), tf.float32)
        return tf.reduce_sum(tf.math.squared_difference(found, wanted)) / divisor


class FeatureMatching:
    """The features of a teacher, on the same images in the same views (see `Objective`).

    The hints of Romero et al. 2015 (arXiv 1412.6550), taken at the encoder's output. The teacher is the encoder that
    the decoder last trained with (`context.known`), over the student's grid where that is smaller; where it can't be,
    the step's parent as it is before training. Its images may have another size, for views are cut in shares of their
    sides.

    Args:
        context: the step that trains.
        encoder: the student.
        upper: its trained part; a Keras model, or what is called like one.
        data: both splits.
        dev: activations of the dev images.
        views: in how many ways a training image is seen.

    Raises:
        UsageError: neither gives such features.
    """

    head: tf_keras.Model | None = None

    def __init__(
        self,
        context: StepContext,
        encoder: tf_keras.Model,
        upper: Any,
        data: TrainingData,
        dev: FeatureCache,
        *,
        views: int,
    ) -> None:
        teacher = _teacher(context, encoder)
        self.loss: Loss = FeatureLoss(upper, encoder.output_shape[1:])
        self._upper, self._dev = upper, dev
        self._wanted = cached_features(teacher, data.train, context.cache, views=views, log=context.log)
        self._wanted_dev = cached_features(teacher, data.dev, context.cache, views=1, log=context.log)

    def batch(self, images: ImageBatch) -> FeatureBatch:
        """See `Objective`."""
        wanted = self._wanted.batch(images.images, images.views)
        return FeatureBatch(images.activations, wanted[images.share], _squares(wanted), images.stream)

    def dev_scores(self) -> dict[str, float]:
        """See `Objective`: `feature_agreement`, 1 less the relative squared error over the dev images."""
        error = squares = 0.0
        begin = 0
        for found in dev_features(self._upper, self._dev):
            wanted = self._wanted_dev.batch(np.arange(begin, begin + len(found)))
            error, squares, begin = error + _squares(found - wanted), squares + _squares(wanted), begin + len(found)
        return {"feature_agreement": 1.0 - error / squares}

    def epoch_figures(self) -> dict[str, float]:
        """See `Objective`."""
        return {}


def _teacher(context: StepContext, student: tf_keras.Model) -> tf_keras.Model:
    return first_fitting(student, (load_float(bundle).encoder for bundle in (context.known, context.parent)))


def first_fitting(student: tf_keras.Model, teachers: Iterable[tf_keras.Model]) -> tf_keras.Model:
    """The first encoder that can teach a student its features, on the student's grid; those behind it aren't asked for.

    Raises:
        UsageError: none can.
    """
    shapes = []
    for teacher in teachers:
        same = teacher.output_shape == student.output_shape
        fitting = teacher if same else on_grid_of(student, teacher)
        if fitting is not None:
            return fitting
        shapes.append(_shape_text(teacher))
    found = " and ".join(dict.fromkeys(shapes))
    raise UsageError(f"objective features: the encoder gives {_shape_text(student)} features, what teaches it {found}")


def _shape_text(encoder: tf_keras.Model) -> str:
    return " x ".join(map(str, encoder.output_shape[1:]))


def on_grid_of(student: tf_keras.Model, teacher: tf_keras.Model) -> tf_keras.Model | None:
    """A teacher's features averaged over what each cell of the student's grid covers of its own.

    Returns:
        Images as the teacher takes them to float32 [batch, L of the student, channels]; None where the channels differ
        or the teacher's grid is not the larger one.
    """
    (height, width, channels), found = _grid(student), _grid(teacher)
    if found[2] != channels or found[0] < height or found[1] < width:
        return None
    rows, columns = overlaps(found[0], height), overlaps(found[1], width)

    def average(features: tf.Tensor) -> tf.Tensor:
        cells = tf.einsum("yh,xw,bhwc->byxc", rows, columns, tf.reshape(features, (-1, *found)))
        return tf.reshape(cells, (-1, height * width, channels))

    # A name of its own: names are part of a cache's key.
    averaged = tf_keras.layers.Lambda(average, name=f"on_{height}_x_{width}")(teacher.output)
    return tf_keras.Model(teacher.input, averaged, name=teacher.name)


def _grid(encoder: tf_keras.Model) -> tuple[int, int, int]:
    """Height, width and channels of its features; 1 x 1 where they are global."""
    shape = encoder.layers[-1].input_shape[1:]
    return (1, 1, *shape) if len(shape) == 1 else shape


def overlaps(found: int, wanted: int) -> NDArray[np.float32]:
    """Which share of each of `wanted` equal cells lies in each of `found` along the same side, [wanted, found]."""
    ends = np.arange(1, wanted + 1)[:, None] * found / wanted
    cells = np.arange(found)
    inside = np.minimum(ends, cells + 1) - np.maximum(ends - found / wanted, cells)
    return (np.maximum(inside, 0) * wanted / found).astype(np.float32)


def _squares(values: NDArray[np.float32]) -> float:
    return max(float(np.square(values).sum(dtype=np.float64)), 1e-12)

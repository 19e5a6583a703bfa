"""Weight clustering (Han et al. 2016, arXiv 1510.00149) with TF-MOT's centroids and gradients; zeros stay zeros."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras.clustering_algorithm import ClusteringAlgorithm

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.tracing import as_graph
from caption_core.runtimes.tensorflow import load_model
from caption_core.training.config import StageConfig
from caption_core.training.optimization import learning_rate
from compression.constraint import Constraint
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner, by_training
from compression.masks import sparsity_figures, sparsity_of
from compression.places import Place, chosen_places
from compression.settings.clustering import Cluster
from compression.settings.training import Training
from compression.steps.centroids import initial_centroids
from compression.training_state import History


def apply(step: Cluster, context: StepContext) -> Bundle:
    """Give each weight matrix few distinct values, and train these values where that is asked for.

    Matrices that don't train are clustered once, before their features are computed.

    Raises:
        UsageError: `layers` choose none of the part's matrices, the clusters are too few for one of them, or the
            training has no data.
    """
    model = load_model(context.parent)
    places = chosen_places(model, step.part, step.layers)
    trained, frozen = by_training(model, places, step.training)
    before = sparsity_of(places)
    Clusters(frozen, step).write()
    history: History = []
    if step.training is not None:
        history = Tuner(context, model, step.training, Clusters(trained, step)).run()
    did = f"{step.part} to {step.clusters} values a {'channel' if step.per_channel else 'matrix'}"
    bundle = write_float_child(context, step, model, did=did)
    values = {place.name: distinct_values(place, per_channel=step.per_channel) for place in places}
    sparsities = sparsity_figures(places)
    record_step(context, step, history=history, sparsity_before=before, **sparsities, distinct_values=values)
    return bundle


def distinct_values(place: Place, *, per_channel: bool = False) -> int:
    """How many different values a matrix has; the most that one of its output channels has if `per_channel`."""
    return max(np.unique(row).size for row in _rows(place.variable, per_channel).numpy())


class Clusters(Constraint):
    """Each weight is read as the centroid nearest to it; centroids and weights train.

    A centroid's gradient is the sum over its cluster; a weight's is the one of what is read in its place, so that it
    may change over to another cluster (both are TF-MOT's). Of a matrix that holds zeros, zero is a centroid, and what
    belongs to it in the beginning stays zero.

    Args:
        places: the matrices.
        step: how many clusters, and how they begin.

    Raises:
        UsageError: the clusters are too few for a matrix.
    """

    def __init__(self, places: Sequence[Place], step: Cluster) -> None:
        self.places = places
        self._matrices = [_Matrix(place, step) for place in places]
        self.variables = [matrix.centroids for matrix in self._matrices]
        training = step.training or Training()
        self._stage = StageConfig(training.epochs, training.learning_rate, warmup_steps=training.warmup_steps)
        self._optimizer = tf_keras.optimizers.Adam(beta_2=0.98, epsilon=1e-8)
        self._optimizer.build(self.variables)
        self._compute = as_graph(self._clustered)

    @property
    def state(self) -> Sequence[tf.Variable]:
        """See `Constraint`: centroids, what their optimizer remembers, and where zeros are."""
        zeros = [variable for matrix in self._matrices for variable in matrix.zeros]
        return [*self.variables, *self._optimizer.variables, *zeros]

    def values(self, seed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """See `Constraint`."""
        del seed
        return {place.name: value for place, value in zip(self.places, self._clustered(), strict=True)}

    def apply_gradients(self, gradients: Sequence[tf.Tensor]) -> None:
        """See `Constraint`."""
        self._optimizer.apply_gradients(zip(gradients, self.variables, strict=True))
        for matrix in self._matrices:
            matrix.hold_zero()

    def before_update(self, update: int, updates: int) -> None:
        """See `Constraint`: centroids learn at the weights' rate."""
        self._optimizer.learning_rate.assign(learning_rate(self._stage, update, updates))

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """See `Constraint`."""
        weights = [place.variable.numpy() for place in self.places]
        self.write()
        try:
            yield
        finally:
            for place, values in zip(self.places, weights, strict=True):
                place.variable.assign(values)

    def write(self) -> None:
        """Make the clustered weights those of the places."""
        for place, values in zip(self.places, self._compute(), strict=True):
            place.variable.assign(values)

    def figures(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"sparsity": round(sparsity_of(self.places), 4)}

    def _clustered(self) -> list[tf.Tensor]:
        return [matrix.clustered() for matrix in self._matrices]


class _Matrix:
    """A weight matrix and its centroids, float32 [channels, clusters]; one channel where it is clustered as a whole."""

    def __init__(self, place: Place, step: Cluster) -> None:
        self._place, self._per_channel = place, step.per_channel
        rows = _rows(place.variable, step.per_channel)
        try:
            begin = initial_centroids(rows.numpy(), step)
        except UsageError as error:
            raise UsageError(f"{place.name}: {error}") from error
        self.centroids = tf.Variable(begin)
        self._is_zero = tf.Variable(begin == 0, trainable=False)
        self._algorithm = _RowClustering(self.centroids)
        indices = self._algorithm.get_pulling_indices(rows)
        self._kept = tf.Variable(tf.gather(self.centroids, indices, batch_dims=1) != 0, trainable=False)

    @property
    def zeros(self) -> tuple[tf.Variable, tf.Variable]:
        """Which centroids are zero, and which weights aren't."""
        return self._is_zero, self._kept

    def clustered(self) -> tf.Tensor:
        """The weights as they are read, in the matrix' shape."""
        rows = tf.where(self._kept, _rows(self._place.variable, self._per_channel), 0.0)
        values = self._algorithm.get_clustered_weight(self._algorithm.get_pulling_indices(rows), rows)
        return _from_rows(values, self._place.variable.shape, self._per_channel)

    def hold_zero(self) -> None:
        """Put the centroids that began at zero back there."""
        self.centroids.assign(tf.where(self._is_zero, 0.0, self.centroids))


class _RowClustering(ClusteringAlgorithm):
    """TF-MOT's gradients, on a look-up that takes all channels at once and a bisection for each weight.

    TF-MOT's own makes a table of distances, elements by clusters, and a piece of graph for every channel.
    """

    def get_pulling_indices(self, weight: tf.Tensor, centroids: tf.Tensor | None = None) -> tf.Tensor:
        """Indices of the nearest centroids, int32 [channels, elements]."""
        centroids = tf.convert_to_tensor(self.cluster_centroids if centroids is None else centroids)
        order = tf.argsort(centroids)
        ascending = tf.gather(centroids, order, batch_dims=1)
        borders = (ascending[:, 1:] + ascending[:, :-1]) / 2
        return tf.gather(order, tf.searchsorted(borders, weight), batch_dims=1)

    def get_clustered_weight(self, pulling_indices: tf.Tensor, original_weight: tf.Tensor) -> tf.Tensor:
        """The centroids that the indices name, float32 [channels, elements]."""
        clustered = tf.gather(tf.convert_to_tensor(self.cluster_centroids), pulling_indices, batch_dims=1)
        return self.add_gradient_to_original_weight(clustered, original_weight)


def _rows(weights: tf.Tensor, per_channel: bool) -> tf.Tensor:
    """A matrix as [channels, elements]."""
    if not per_channel:
        return tf.reshape(weights, [1, -1])
    return tf.transpose(tf.reshape(weights, [-1, weights.shape[-1]]))


def _from_rows(rows: tf.Tensor, shape: tf.TensorShape, per_channel: bool) -> tf.Tensor:
    return tf.reshape(tf.transpose(rows) if per_channel else rows, shape)

"""Where the centroids of weights begin: TF-MOT's initializations, moved to their clusters' means."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_model_optimization.python.core.clustering.keras.cluster_config import CentroidInitialization
from tensorflow_model_optimization.python.core.clustering.keras.clustering_centroids import CentroidsInitializerFactory

from caption_core.errors import UsageError
from compression.settings.clustering import Cluster

_INITIALIZATIONS = {
    "kmeans++": CentroidInitialization.KMEANS_PLUS_PLUS,
    "linear": CentroidInitialization.LINEAR,
    "density": CentroidInitialization.DENSITY_BASED,
}

# k-means++ measures the distance of every weight to every new centroid; so many tell where the centroids lie.
_SAMPLE = 2**16

_MOST_ITERATIONS = 100


def initial_centroids(rows: NDArray[np.float32], step: Cluster) -> NDArray[np.float32]:
    """Centroids of weights, each row for itself.

    TF-MOT's, of a sample of large rows for k-means++, moved by Lloyd's iterations to the means of their clusters
    (k-means, as in Han et al. 2016, section 3). A row that holds a zero has a centroid at zero, which stays there; one
    of no more distinct values than clusters has these values.

    Args:
        rows: [rows, elements].

    Returns:
        [rows, clusters], ascending; a row of fewer centroids repeats its last one.

    Raises:
        UsageError: two clusters for a row that holds a zero.
    """
    generator = np.random.default_rng(0)
    return np.stack([_filled(_of_row(np.sort(row), step, generator), step.clusters) for row in rows])


def _of_row(row: NDArray[np.float32], step: Cluster, generator: np.random.Generator) -> NDArray[np.float32]:
    """Centroids of ascending weights."""
    distinct = np.unique(row)
    if distinct.size <= step.clusters:
        return distinct + np.float32(0.0)  # the zero that is left has no sign
    is_sparse = bool((distinct == 0).any())
    if is_sparse and step.clusters < 3:
        raise UsageError("clusters: 2 are too few where weights are zero: one would be zero, and one all the others")
    weights = row[row != 0]
    if step.initialization == "kmeans++" and weights.size > _SAMPLE:
        weights = generator.choice(weights, _SAMPLE, replace=False)
    initializer = CentroidsInitializerFactory.get_centroid_initializer(_INITIALIZATIONS[step.initialization])
    centroids = initializer(tf.constant(weights), step.clusters, preserve_sparsity=is_sparse).get_cluster_centroids()
    return lloyd(row, np.unique(centroids.numpy()), holds_zero=is_sparse)


def lloyd(row: NDArray[np.float32], centroids: NDArray[np.float32], *, holds_zero: bool) -> NDArray[np.float32]:
    """Move centroids to the means of the weights nearest to them until none moves (Lloyd 1982).

    Args:
        row: ascending weights.
        centroids: ascending; one without weights stays where it is.
        holds_zero: so does one at zero.
    """
    sums = np.concatenate([[0.0], np.cumsum(row, dtype=np.float64)])
    present = centroids.astype(np.float64)
    for _ in range(_MOST_ITERATIONS):
        ends = np.concatenate([[0], np.searchsorted(row, (present[1:] + present[:-1]) / 2), [row.size]])
        counts = np.diff(ends)
        means = np.where(counts > 0, np.diff(sums[ends]) / np.maximum(counts, 1), present)
        moved = np.where(present == 0, 0.0, means) if holds_zero else means
        if np.array_equal(moved, present):
            break
        present = moved
    return present.astype(np.float32)


def _filled(centroids: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    return np.pad(centroids, (0, count - centroids.size), mode="edge")

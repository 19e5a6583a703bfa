"""Clusters that survive training: weights that were equal when it began stay equal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from caption_core.models.tracing import as_graph
from compression.constraint import Constraint
from compression.places import Place

_LARGEST_CODEBOOK = 256  # distinct values; more are no clusters
_SHARE = 0.25  # distinct values of a clustered matrix over its elements, at most; in float next to all differ


class FixedClusters(Constraint):
    """Sets a cluster's weights to their mean after each update, which is the cluster's new value; zeros stay zero.

    The update of a mean is the mean of the members' updates, as where a codebook itself is trained (Han et al. 2016,
    arXiv 1510.00149).

    Args:
        places: of which those with few distinct values count as clustered.

    Attributes:
        names: of the clustered ones.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = [place for place in places if _is_clustered(place)]
        self.names = frozenset(place.name for place in self.places)
        self._members = [_members(place) for place in self.places]
        self._apply = as_graph(self._average)

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        del update, updates
        if self.places:
            self._apply()

    def _average(self) -> None:
        for place, (codebook, members) in zip(self.places, self._members, strict=True):
            flat = tf.reshape(place.variable, (-1,))
            means = tf.math.unsorted_segment_mean(flat, members, len(codebook))
            means = tf.where(codebook == 0, 0.0, means)
            place.variable.assign(tf.reshape(tf.gather(means, members), place.variable.shape))


def _is_clustered(place: Place) -> bool:
    values = place.variable.numpy()
    return len(np.unique(values)) <= min(_LARGEST_CODEBOOK, _SHARE * values.size)


def _members(place: Place) -> tuple[tf.Tensor, tf.Tensor]:
    """The distinct values, and each element's place among them."""
    codebook, members = np.unique(place.variable.numpy(), return_inverse=True)
    return tf.constant(codebook), tf.constant(members.reshape(-1).astype(np.int32))

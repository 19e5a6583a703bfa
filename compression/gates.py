"""Trainable gates beside weights: supermasks (Tan et al. 2019, arXiv 1908.10797; 2021, arXiv 2110.03298)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from compression.constraint import Constraint
from compression.masks import Masks, apply_masks, global_masks
from compression.places import Place
from compression.settings.pruning import Supermask

TOLERANCE = 0.01
"""How far the rounded gates' sparsity may lie from the target in an epoch that counts as settled."""

# A gate's gradient is one weight's small part of the loss: Keras' 1e-7 would be more than most of them.
_EPSILON = 1e-12

# Draws of gates come from streams of their own: a step's seed lies below this, and so do the streams of dropout.
_STREAM = 2**30


def annealing(share: float) -> float:
    """Weight of the sparsity loss at a share of the training, an inverted cosine from 0 to 1 (arXiv 2110.03298)."""
    return 0.5 * (1.0 - math.cos(math.pi * min(1.0, share)))


def straight_through(probabilities: tf.Tensor, decisions: tf.Tensor) -> tf.Tensor:
    """`decisions` (0 or 1), whose gradient goes to `probabilities` as it is (Bengio et al. 2013, arXiv 1308.3432)."""
    return tf.stop_gradient(decisions) + (probabilities - tf.stop_gradient(probabilities))  # the decisions exactly


def sampled(gate: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A mask drawn from Bernoulli(sigmoid(gate)), float32 of the gate's shape; `seed` int32 [2] decides it."""
    probabilities = tf.sigmoid(gate)
    drawn = tf.random.stateless_uniform(tf.shape(gate), seed) < probabilities
    return straight_through(probabilities, tf.cast(drawn, tf.float32))


def rounded(gate: tf.Tensor) -> tf.Tensor:
    """The mask sigmoid(gate) > 0.5, float32 of the gate's shape."""
    return straight_through(tf.sigmoid(gate), tf.cast(gate > 0, tf.float32))


class Gates(Constraint):
    """A gate logit beside each weight; what the forward pass reads is the weight times a draw of the gate.

    The loss of sparsity is the distance of the rounded gates' sparsity from the target, times a weight that is
    annealed from zero. Weights that are zero from the beginning count as pruned and stay so.

    Scored and kept are the weights times the rounded gates. Rounding meets the target only nearly; where it comes
    within `TOLERANCE`, and after the last update in any case, the gates are ranked in place of being rounded (equal
    ones by their weights' magnitudes), so that the share of zeros is the target exactly.

    Args:
        places: the gated weights.
        step: target and rates.
    """

    def __init__(self, places: Sequence[Place], step: Supermask) -> None:
        self.places, self._step = places, step
        self.variables = [tf.Variable(tf.fill(place.variable.shape, step.initial_gate)) for place in places]
        self._alive = [tf.constant((place.variable.numpy() != 0).astype(np.float32)) for place in places]
        self._elements = sum(math.prod(place.variable.shape) for place in places)
        self._weight = tf.Variable(0.0, trainable=False)
        self._optimizer = _optimizer(step)
        self._optimizer.build(self.variables)
        self._ended = False

    @property
    def state(self) -> Sequence[tf.Variable]:
        """See `Constraint`: the gates and what their optimizer remembers."""
        return [*self.variables, *self._optimizer.variables]

    def values(self, seed: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """See `Constraint`: weights times draws of their gates."""
        return {
            place.name: place.variable * sampled(gate, seed + tf.constant((_STREAM, number)))
            for number, (place, gate) in enumerate(zip(self.places, self.variables, strict=True))
        }

    def penalty(self) -> tf.Tensor:
        """See `Constraint`: the annealed loss of sparsity."""
        return self._weight * tf.abs(self._step.sparsity - self._rounded_sparsity())

    def apply_gradients(self, gradients: Sequence[tf.Tensor]) -> None:
        """See `Constraint`."""
        dense = map(tf.convert_to_tensor, gradients)
        self._optimizer.apply_gradients(zip(dense, self.variables, strict=True))

    def before_update(self, update: int, updates: int) -> None:
        """See `Constraint`: anneals the loss of sparsity."""
        self._weight.assign(self._step.sparsity_weight * annealing(update / updates))

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        self._ended = update + 1 == updates

    def is_settled(self, share: float) -> bool:
        """See `Constraint`: rounding comes within the tolerance; the last epoch is taken as it is."""
        return share >= 1.0 or self._is_near()

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """See `Constraint`."""
        trained = [place.variable.numpy() for place in self.places]
        apply_masks(self.places, self.masks())
        try:
            yield
        finally:
            for place, weight in zip(self.places, trained, strict=True):
                place.variable.assign(weight)

    def figures(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"gates_sparsity": round(self.rounded_sparsity(), 4)}

    def rounded_sparsity(self) -> float:
        """Share of weights whose gate rounds to zero."""
        return float(self._rounded_sparsity())

    def masks(self) -> Masks:
        """The gates rounded, or ranked where the target is near or training has ended."""
        if self._ended or self._is_near():
            return global_masks(self._ranking(), self._step.sparsity)
        gates = zip(self.places, self.variables, strict=True)
        return {place.name: rounded(gate).numpy() > 0 for place, gate in gates}

    def _is_near(self) -> bool:
        return abs(self.rounded_sparsity() - self._step.sparsity) <= TOLERANCE

    def _rounded_sparsity(self) -> tf.Tensor:
        kept = [tf.reduce_sum(alive * rounded(gate)) for alive, gate in zip(self._alive, self.variables, strict=True)]
        return 1.0 - tf.add_n(kept) / self._elements

    def _ranking(self) -> dict[str, NDArray[np.float64]]:
        """Scores in the order of the gates, and in the weights' where gates are equal; the lowest are dead weights'."""
        places, alive = self.places, np.concatenate([part.numpy().ravel() for part in self._alive]) > 0
        gates = np.concatenate([gate.numpy().ravel() for gate in self.variables])
        weights = np.concatenate([np.abs(place.variable.numpy()).ravel() for place in places])
        scores = np.empty(len(gates))
        scores[np.lexsort((weights, gates, alive))] = np.arange(1, len(gates) + 1)
        ends = np.cumsum([math.prod(place.variable.shape) for place in places])[:-1]
        parts = zip(places, np.split(scores, ends), strict=True)
        return {place.name: part.reshape(place.variable.shape) for place, part in parts}


def _optimizer(step: Supermask) -> tf_keras.optimizers.Optimizer:
    if step.gate_optimizer == "adam":
        return tf_keras.optimizers.Adam(step.gate_learning_rate, epsilon=_EPSILON)
    return tf_keras.optimizers.SGD(step.gate_learning_rate)

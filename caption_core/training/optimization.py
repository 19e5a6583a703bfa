"""One update of the weights: the loss, its gradients over all workers, and what follows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import tensorflow as tf
import tf_keras

from caption_core.models.tracing import as_graph
from caption_core.training.config import StageConfig

# Streams of random draws lie so far apart in their second number, to which the model adds less than this: one number
# for each place or word that it draws at.
DRAWS = 256


def learning_rate(stage: StageConfig, step: int, steps: int) -> float:
    """Rate at update `step` of `steps`: linear warm-up, then half a cosine to zero (arXiv 1608.03983)."""
    warmup = min(stage.warmup_steps, steps // 4)
    if step < warmup:
        return stage.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return stage.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def parts_of(size: int, count: int, seed: tuple[int, int]) -> Iterator[tuple[slice, tuple[int, int]]]:
    """Cut a batch of `size` rows into at most `count` equal parts; a part of no rows where there are none.

    Args:
        size: rows.
        count: parts.
        seed: of the whole batch's random draws; each part comes with one of its own.
    """
    stream, place = seed
    step = max(1, -(-size // count))  # a short batch may have fewer rows than parts
    for part, begin in enumerate(range(0, max(1, size), step)):
        yield slice(begin, begin + step), (stream, place + part * DRAWS)


class Batch(Protocol):
    """One worker's share of a batch, whatever its loss is computed from."""

    def tensors(self) -> tuple[tf.Tensor, ...]:
        """The arguments of the loss."""

    def parts(self, count: int) -> Iterator[Batch]:
        """Cut into at most `count` parts whose losses add up to the batch's."""


class Loss(Protocol):
    """A loss and what is trained by it.

    Attributes:
        variables: trained variables.
        signature: of the arguments.
    """

    variables: list[tf.Variable]
    signature: list[tf.TensorSpec]

    def __call__(self, *tensors: tf.Tensor) -> tf.Tensor:
        """This worker's part of the loss, a scalar: a sum over images, divided by what all workers agree on."""


class Trainer:
    """Updates a loss' variables under a distribution strategy.

    Every worker brings its share of a batch; gradients are summed over workers before clipping, and the loss is
    divided by a number that all workers share, so the update does not depend on how many workers share the batch.

    Args:
        strategy: the strategy in whose scope the models were built.
        loss: the loss.
        clip_norm: cap of the gradients' global norm.
        parts: how many pieces this worker's share of a batch is cut into; their gradients are added up before workers
            exchange them, so that memory is needed for one piece at a time.
    """

    def __init__(self, strategy: tf.distribute.Strategy, loss: Loss, *, clip_norm: float, parts: int = 1) -> None:
        self._strategy, self._loss = strategy, loss
        self._clip_norm, self._parts = clip_norm, parts
        self.variables = loss.variables
        with strategy.scope():
            self.optimizer = tf_keras.optimizers.Adam(beta_2=0.98, epsilon=1e-8)
            self.optimizer.build(self.variables)
        self._update = as_graph(self._distributed_update, loss.signature)
        self._gradients = as_graph(self._distributed_gradients, loss.signature)
        self._apply = as_graph(self._distributed_apply)

    def update(self, batch: Batch, rate: float) -> tf.Tensor:
        """Make one update at learning rate `rate`; returns the loss over all workers, a scalar not yet waited for."""
        self.optimizer.learning_rate.assign(rate)
        if self._parts == 1:
            return self._update(*batch.tensors())
        parts = batch.parts(self._parts)
        total = self._gradients(*next(parts).tensors())
        for part in parts:
            total = [a + b for a, b in zip(total, self._gradients(*part.tensors()), strict=True)]
        return self._apply(total)

    def _distributed_update(self, *batch: tf.Tensor) -> tf.Tensor:
        return self._on_replica(lambda *tensors: self._exchange(self._replica_gradients(*tensors)), batch)

    def _distributed_gradients(self, *batch: tf.Tensor) -> list[tf.Tensor]:
        return self._on_replica(self._replica_gradients, batch)

    def _distributed_apply(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        # A function's arguments have no device, and workers exchange only what is known to be on one.
        return self._on_replica(lambda arguments: self._exchange([*map(tf.identity, arguments)]), (gradients,))

    def _on_replica(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run in a worker's replica, of which it has one."""
        results = self._strategy.run(function, args=args)
        return tf.nest.map_structure(lambda result: self._strategy.experimental_local_results(result)[0], results)

    def _replica_gradients(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """This worker's gradients, in the order of `variables`, and then its part of the loss."""
        with tf.GradientTape() as tape:
            loss = self._loss(*tensors)
        return [*map(tf.convert_to_tensor, tape.gradient(loss, self.variables)), loss]

    def _exchange(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Add up what all workers have, update the variables, and return the whole loss."""
        # The loss travels with the gradients: a sum over workers of its own would be a second wait for all of them.
        *gradients, loss = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True), skip_gradients_aggregation=True)
        return loss


class AveragedWeights:
    """Exponential moving average of variables (Polyak and Juditsky 1992), kept outside the graph in NumPy.

    The decay starts low and rises to its value, so that early averages do not remember the first weights.
    """

    def __init__(self, variables: list[tf.Variable], decay: float) -> None:
        self._variables, self._decay = variables, decay
        self.updates = 0
        self.values = [variable.numpy() for variable in variables]

    def update(self) -> None:
        """Take the variables' present values in."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        for value, variable in zip(self.values, self._variables, strict=True):
            value += (1.0 - decay) * (variable.numpy() - value)

    def swap(self) -> None:
        """Exchange averages and variables: evaluate or save the averages, then swap again."""
        for index, variable in enumerate(self._variables):
            current = variable.numpy()
            variable.assign(self.values[index])
            self.values[index] = current

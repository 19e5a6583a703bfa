"""One update of the weights: the loss, its gradients over all workers, and what follows them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.models.decoder import Decoder, without_unspoken
from caption_core.training.config import StageConfig
from caption_core.vocabulary import PAD

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


def smoothed_cross_entropy(logits: tf.Tensor, targets: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Label-smoothed cross-entropy of each caption, summed over its non-padding targets, in nats.

    Args:
        logits: float32 [B, K, T, V].
        targets: int32 [B, K, T]; padding counts nothing.
        smoothing: share of the target spread evenly over V.

    Returns:
        float32 [B, K].
    """
    log_p = tf.nn.log_softmax(logits)
    chosen = tf.gather(log_p, targets, batch_dims=targets.shape.rank)
    loss = -(1.0 - smoothing) * chosen - smoothing * tf.reduce_mean(log_p, axis=-1)
    return tf.reduce_sum(tf.where(targets != PAD, loss, 0.0), axis=-1)


@dataclass(frozen=True, slots=True)
class CaptionBatch:
    """One worker's share of a batch: what the loss is computed from.

    The loss is the sum over captions of weight times cross-entropy, over all workers, divided by `divisor`.

    Attributes:
        activations: float32 [B, ...], the frozen encoder part's outputs.
        tokens: int32 [B, K, T], captions, start token first.
        weights: float32 [B, K], what each caption counts; negative for one to be made less likely.
        divisor: of the whole batch's loss, the same on every worker.
        smoothing: label smoothing.
        dropout_seed: int32 [2], decides this worker's dropout masks.
    """

    activations: NDArray[np.float32]
    tokens: NDArray[np.int32]
    weights: NDArray[np.float32]
    divisor: float
    smoothing: float
    dropout_seed: tuple[int, int]

    def parts(self, count: int) -> Iterator[CaptionBatch]:
        """Cut into at most `count` equal parts, whose losses add up to the batch's; each has dropout of its own."""
        size = max(1, -(-len(self.tokens) // count))  # a short batch may have fewer images than parts, or none
        for part, begin in enumerate(range(0, max(1, len(self.tokens)), size)):
            rows = slice(begin, begin + size)
            stream, place = self.dropout_seed
            yield replace(
                self,
                activations=self.activations[rows],
                tokens=self.tokens[rows],
                weights=self.weights[rows],
                dropout_seed=(stream, place + part * DRAWS),
            )


class Trainer:
    """Updates a decoder, and the upper part of an encoder where there is one, under a distribution strategy.

    Every worker brings its share of a batch; gradients are summed over workers before clipping, and the loss is
    divided by a number that all workers share, so the update does not depend on how many workers share the batch.

    Args:
        strategy: the strategy in whose scope the models were built.
        upper: trained part of the encoder, or None.
        decoder: the decoder.
        clip_norm: cap of the gradients' global norm.
        self_critical: captions are the model's own draws. They were drawn without dropout from the tokens that a
            caption may hold, so that is the distribution that the update is about: left in, the unknown token would
            soak up what each draw that is made less likely gives away, unseen, since it is never drawn.
        parts: how many pieces this worker's share of a batch is cut into; their gradients are added up before workers
            exchange them, so that memory is needed for one piece at a time.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        upper: tf_keras.Model | None,
        decoder: Decoder,
        *,
        clip_norm: float,
        self_critical: bool = False,
        parts: int = 1,
    ) -> None:
        self._strategy, self._upper, self._decoder = strategy, upper, decoder
        self._clip_norm, self._self_critical, self._parts = clip_norm, self_critical, parts
        self.variables = list(decoder.trainable_variables) + (list(upper.trainable_variables) if upper else [])
        with strategy.scope():
            self.optimizer = tf_keras.optimizers.Adam(beta_2=0.98, epsilon=1e-8)
            self.optimizer.build(self.variables)
        shape = upper.input_shape[1:] if upper else (None, decoder.config.feature_channels)
        scalar = tf.TensorSpec((), tf.float32)
        signature = [
            tf.TensorSpec((None, *shape), tf.float32),  # activations
            tf.TensorSpec((None, None, None), tf.int32),  # tokens
            tf.TensorSpec((None, None), tf.float32),  # weights
            scalar,  # divisor
            scalar,  # smoothing
            tf.TensorSpec((2,), tf.int32),  # dropout seed
        ]
        self._update = tf.function(self._distributed_update, input_signature=signature)
        self._gradients = tf.function(self._distributed_gradients, input_signature=signature)
        self._apply = tf.function(self._distributed_apply)

    def update(self, batch: CaptionBatch, rate: float) -> tf.Tensor:
        """Make one update at learning rate `rate`; returns the loss over all workers, a scalar not yet waited for."""
        self.optimizer.learning_rate.assign(rate)
        if self._parts == 1:
            return self._update(*_tensors(batch))
        parts = batch.parts(self._parts)
        total = self._gradients(*_tensors(next(parts)))
        for part in parts:
            total = [a + b for a, b in zip(total, self._gradients(*_tensors(part)), strict=True)]
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

    def _replica_gradients(
        self,
        activations: tf.Tensor,
        tokens: tf.Tensor,
        weights: tf.Tensor,
        divisor: tf.Tensor,
        smoothing: tf.Tensor,
        dropout_seed: tf.Tensor,
    ) -> list[tf.Tensor]:
        """This worker's gradients, in the order of `variables`, and then its part of the loss."""
        with tf.GradientTape() as tape:
            # Batch norm stays in inference mode: statistics of a few images would harm the pretrained ones.
            features = tf.cast(self._upper(activations, training=False), tf.float32) if self._upper else activations
            logits = self._decoder(features, tokens[:, :, :-1], None if self._self_critical else dropout_seed)
            if self._self_critical:
                logits = without_unspoken(logits)
            losses = smoothed_cross_entropy(logits, tokens[:, :, 1:], smoothing)
            loss = tf.reduce_sum(weights * losses) / divisor
        return [*map(tf.convert_to_tensor, tape.gradient(loss, self.variables)), loss]

    def _exchange(self, gradients: list[tf.Tensor]) -> tf.Tensor:
        """Add up what all workers have, update the variables, and return the whole loss."""
        # The loss travels with the gradients: a sum over workers of its own would be a second wait for all of them.
        *gradients, loss = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm)
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True), skip_gradients_aggregation=True)
        return loss


def _tensors(batch: CaptionBatch) -> tuple[tf.Tensor, ...]:
    return (
        tf.constant(batch.activations, tf.float32),
        tf.constant(batch.tokens, tf.int32),
        tf.constant(batch.weights, tf.float32),
        tf.constant(batch.divisor, tf.float32),
        tf.constant(batch.smoothing, tf.float32),
        tf.constant(batch.dropout_seed, tf.int32),
    )


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

"""Training inside a step: a model, what it learns from, and the constraint that a technique holds it to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder import Decoder
from caption_core.models.encoders import split_encoder
from caption_core.models.tracing import as_graph
from caption_core.models.weights import Weights, assign_weights, named_weights
from caption_core.search import SearchSettings
from caption_core.training.batches import plan_epoch, tokenize
from caption_core.training.config import DataConfig, StageConfig
from caption_core.training.data import TrainingData, load_data
from caption_core.training.features import cached_features
from caption_core.training.objectives import ImageBatch, Objective, OwnCaptions, References
from caption_core.training.optimization import DRAWS, AveragedWeights, learning_rate
from caption_core.training.selection import DevSet, dev_features
from caption_core.training.self_critical import CiderReward
from caption_core.vocabulary import Vocabulary
from compression.constraint import Constraint, FixedMasks
from compression.context import StepContext, trained_ranges
from compression.distillation import DistilledCaptions, taught
from compression.feature_matching import FeatureMatching
from compression.leftovers import state_path
from compression.places import Place, places_of, replaced
from compression.settings.fields import PARTS, PIXELS
from compression.settings.training import Training
from compression.teacher import Teacher
from compression.training_state import Finished, History, TrainingState

_CLIP_NORM = 5.0
_EMA_DECAY = 0.998
_SMOOTHING = 0.1
_LOG_INTERVAL_S = 15.0


class Tuner:
    """Trains a model under a constraint, and leaves the best epoch's weights in it, or its own where none is better.

    Zeros of the weights stay zeros, whatever the constraint. Behind an encoder that was trained for int8, a decoder
    learns from its rounded features.

    Args:
        context: the step that trains.
        model: the model; its variables change.
        training: how long, how fast, and from what.
        constraint: of the step's technique.
        encoder: (lower, upper) in place of the encoder cut at `training.encoder_from`: the part that is frozen, and
            something called like a Keras model in place of the part that trains.
        vocabulary: the model's, if it isn't the parent's.

    Raises:
        UsageError: an encoder that was trained for int8 is to train along.
    """

    def __init__(
        self,
        context: StepContext,
        model: CaptioningModel,
        training: Training,
        constraint: Constraint | None = None,
        *,
        encoder: tuple[tf_keras.Model, tf_keras.Model] | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self._context, self._model, self._training = context, model, training
        self._constraint = constraint or Constraint()
        self._zeros = FixedMasks([place for part in PARTS for place in places_of(model, part)])
        lower, self._upper = encoder or split_at(_features_of(context.parent, model, training), training.encoder_from)
        self._data = load_training_data(context, training, vocabulary)
        data = self._data_config
        self._train = cached_features(lower, self._data.train, context.cache, views=data.views, log=context.log)
        self._dev = cached_features(lower, self._data.dev, context.cache, views=1, log=context.log)
        self._objective = self._make_objective()
        self._variables = self._objective.loss.variables
        self._optimizer = tf_keras.optimizers.Adam(beta_2=0.98, epsilon=1e-8)
        self._optimizer.build(self._variables)
        self._update = as_graph(self._traced_update, self._objective.loss.signature)

    @property
    def _data_config(self) -> DataConfig:
        return _narrowed(self._context.captions(), self._training)

    def run(self) -> History:
        """Train, from where a lost process left this training; returns one entry an epoch.

        An entry has the epoch's loss, its dev scores, and the constraint's and the objective's figures.
        """
        if self._upper is not None:
            next(dev_features(self._upper, self._dev))  # builds what is lazily built before weights are taken
        epochs, averages = self._training.epochs, AveragedWeights(list(self._variables), _EMA_DECAY)
        self._constraint.begin(epochs * len(self._plan(0)))
        state = self._state(averages)
        finished = (state.restore(self._weights()) if state else None) or self._beginning()
        for epoch in range(len(finished.history), epochs):
            started = time.monotonic()
            loss = self._train_epoch(epoch, averages)
            averages.swap()
            with self._constraint.materialized():
                scores = self._objective.dev_scores()
                score = scores[_metric(self._training)]
                # An epoch before the constraint has settled is not what was asked for, however good.
                if self._constraint.is_settled((epoch + 1) / epochs) and score > finished.best_score:
                    finished.best, finished.best_score, finished.best_epoch = self._weights(), score, epoch + 1
            averages.swap()
            entry = {"epoch": epoch + 1, "loss": round(loss, 4), "seconds": round(time.monotonic() - started, 1)}
            entry |= {f"dev_{name}": round(value, 4) for name, value in scores.items()} | self._constraint.figures()
            entry |= self._objective.epoch_figures()
            finished.history.append(entry)
            if state:
                state.save(finished)
            self._context.log(" ".join(f"{name}={value}" for name, value in entry.items()))
        self._assign(finished.best)
        self._context.log(f"keeps epoch {finished.best_epoch}" if finished.best_epoch else "keeps what it began with")
        return finished.history

    def _beginning(self) -> Finished:
        """The model as it is, scored where the constraint holds already."""
        finished = Finished(self._weights())
        if self._constraint.is_settled(0.0):
            metric = _metric(self._training)
            with self._constraint.materialized():
                finished.best, score = self._weights(), self._objective.dev_scores()[metric]
            finished.best_score = float(np.nextafter(score, -np.inf))  # an epoch that is as good is taken
            self._context.log(f"before training: dev_{metric}={score:.4f}")
        return finished

    def _state(self, averages: AveragedWeights) -> TrainingState | None:
        """Where this training is kept; None where it can't be."""
        context, own = self._context, self._constraint.state
        number = next(context.trainings)
        if own is None:
            return None
        variables = [*self._variables, *self._optimizer.variables, *self._zeros.state, *own]
        origin = [bundle.digest for bundle in (context.parent, context.teacher, context.known)]
        return TrainingState(state_path(context.folder, number), variables, averages, origin, context.log)

    def gradients(self, batches: int) -> Iterator[list[tf.Tensor]]:
        """Gradients of the trained variables, in the order of `variables`, of so many batches; nothing is updated."""
        compute = as_graph(self._traced_gradients, self._objective.loss.signature)
        plan = self._plan(0)[:batches]
        for batch in self._batches(0, plan):
            yield compute(*self._objective.batch(batch).tensors())

    @property
    def variables(self) -> list[tf.Variable]:
        """What trains."""
        return list(self._variables)

    def _make_objective(self) -> Objective:
        context, training, decoder = self._context, self._training, self._model.decoder
        if training.objective == "features":
            encoder, views = self._model.encoder, self._data_config.views
            return FeatureMatching(context, encoder, self._upper, self._data, self._dev, views=views)
        greedy = SearchSettings(beam_width=1, max_tokens=self._data_config.max_tokens)
        dev = DevSet(self._data.dev, self._dev, self._data.vocabulary, greedy)
        if training.objective == "self_critical":
            reward = CiderReward(self._data.tokens, len(self._data.vocabulary))
            return OwnCaptions(self._upper, decoder, dev, reward, self._data_config.max_tokens)
        if not training.distils:
            return References(self._upper, decoder, dev, self._data.tokens, _SMOOTHING)
        teacher = Teacher(context, self._data, views=self._data_config.views, beam=training.teacher_beam)
        table = taught(self._data, teacher, training.captions, self._data_config)
        if not training.soft_targets:
            return References(self._upper, decoder, dev, table, _SMOOTHING)
        return DistilledCaptions(self._upper, decoder, dev, table, teacher, training, _SMOOTHING)

    def _traced_loss(self, *tensors: tf.Tensor) -> tf.Tensor:
        weights = replaced(self._constraint.values(tensors[-1]), self._constraint.places)
        dropout = scaled_dropout(self._model.decoder, self._training.dropout_scale)
        with weights, dropout, self._constraint.traced():
            return self._objective.loss(*tensors) + self._constraint.penalty()

    def _traced_gradients(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = self._traced_loss(*tensors)
        return [*map(tf.convert_to_tensor, tape.gradient(loss, list(self._variables)))]

    def _traced_update(self, *tensors: tf.Tensor) -> tf.Tensor:
        own = list(self._constraint.variables)
        with tf.GradientTape() as tape:
            loss = self._traced_loss(*tensors)
        gradients = tape.gradient(loss, [*self._variables, *own], unconnected_gradients="zero")
        weights = [*map(tf.convert_to_tensor, gradients[: len(self._variables)])]
        weights, _ = tf.clip_by_global_norm(weights, _CLIP_NORM)
        self._optimizer.apply_gradients(zip(weights, self._variables, strict=True))
        self._constraint.apply_gradients(gradients[len(self._variables) :])
        return loss

    def _train_epoch(self, epoch: int, averages: AveragedWeights) -> float:
        plan = self._plan(epoch)
        updates = len(plan) * self._training.epochs
        stage = StageConfig(
            self._training.epochs, self._training.learning_rate, warmup_steps=self._training.warmup_steps
        )
        losses, reported = [], time.monotonic()
        for number, batch in enumerate(self._batches(epoch, plan)):
            update = epoch * len(plan) + number
            self._optimizer.learning_rate.assign(learning_rate(stage, update, updates))
            self._constraint.before_update(update, updates)
            losses.append(self._update(*self._objective.batch(batch).tensors()))
            self._constraint.after_update(update, updates)
            self._zeros.after_update(update, updates)
            averages.update()
            if time.monotonic() - reported > _LOG_INTERVAL_S:
                reported = time.monotonic()
                self._context.log(
                    f"epoch {epoch + 1}/{self._training.epochs} batch {number + 1}/{len(plan)} loss {losses[-1]:.3f}"
                )
        return float(np.mean([float(loss) for loss in losses]))

    def _plan(self, epoch: int) -> list[NDArray[np.int64]]:
        batch_images, seed = self._training.batch_images, self._context.seed
        return plan_epoch(self._data.tokens.lengths, batch_images=batch_images, seed=seed, epoch=epoch)

    def _batches(self, epoch: int, plan: Sequence[NDArray[np.int64]]) -> Iterator[ImageBatch]:
        """Each batch, with activations read one batch ahead in a thread."""
        generator = np.random.default_rng((self._context.seed, epoch))
        views = generator.integers(self._train.views.shape[0], size=len(self._data.train))
        ahead = self._train.batches(plan, views)
        for number, (images, activations) in enumerate(zip(plan, ahead, strict=True)):
            stream = (self._context.seed, DRAWS * (epoch * len(plan) + number))
            yield ImageBatch(images, views[images], slice(None), activations, stream)

    def _weights(self) -> Weights:
        return named_weights("encoder", self._model.encoder) | named_weights("decoder", self._model.decoder)

    def _assign(self, weights: Weights) -> None:
        assign_weights("encoder", self._model.encoder, weights)
        assign_weights("decoder", self._model.decoder, weights)


def _features_of(parent: Bundle, model: CaptioningModel, training: Training) -> tf_keras.Model:
    """The encoder whose features a training sees: one that was trained for int8 rounds them, and must stay as it is."""
    ranges = trained_ranges(parent, "encoder")
    if not ranges:
        return model.encoder
    if training.encoder_from is not None:
        raise UsageError("the encoder was trained for int8 already: leave out training.encoder_from")
    # Imported here: TF-MOT takes seconds, and most trainings need none of it.
    from compression.encoder_quantization import trained_copy

    return trained_copy(model.encoder, ranges)


@contextmanager
def scaled_dropout(decoder: Decoder, scale: float) -> Iterator[None]:
    """Let a decoder drop `scale` times as much, in what is traced meanwhile."""
    config = decoder.config
    decoder.config = config.with_scaled_dropout(scale)
    try:
        yield
    finally:
        decoder.config = config


def by_training(
    model: CaptioningModel, places: Sequence[Place], training: Training | None
) -> tuple[list[Place], list[Place]]:
    """Those of `places` that a training changes, and those that it doesn't."""
    trained: set[int] = set()
    if training is not None:
        upper = split_at(model.encoder, training.encoder_from)[1]
        trained = {id(variable) for variable in (upper.trainable_variables if upper else [])}
        if training.objective != "features":
            trained |= {id(variable) for variable in model.decoder.trainable_variables}
    return (
        [place for place in places if id(place.variable) in trained],
        [place for place in places if id(place.variable) not in trained],
    )


def load_training_data(context: StepContext, training: Training, vocabulary: Vocabulary | None = None) -> TrainingData:
    """Images, captions and tokens that a step trains on, in its parent's vocabulary or in another."""
    config = _narrowed(context.captions(), training)
    data = load_data(config, context.parent.folder)
    if vocabulary is None:
        return data
    return replace(data, vocabulary=vocabulary, tokens=tokenize(data.train, vocabulary, max_tokens=config.max_tokens))


def _narrowed(data: DataConfig, training: Training) -> DataConfig:
    limits = [limit for limit in (data.limit_images, training.images) if limit is not None]
    return replace(data, views=training.views or data.views, limit_images=min(limits, default=None))


def _metric(training: Training) -> str:
    return "feature_agreement" if training.objective == "features" else "CIDEr-D"


def split_at(encoder: tf_keras.Model, block: str | None) -> tuple[tf_keras.Model, tf_keras.Model | None]:
    """See `split_encoder`; `pixels` leaves nothing below the cut."""
    if block == PIXELS:
        return tf_keras.Model(encoder.input, encoder.input, name=PIXELS), encoder
    return split_encoder(encoder, block)

"""The training loop of one worker: stages, epochs, updates, dev scores, snapshots. No Ray here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from caption_core.bundle import open_bundle
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_registry import build_decoder
from caption_core.models.encoders import build_encoder, split_encoder
from caption_core.models.precision import layers_computing_in
from caption_core.models.weights import Weights, assign_weights, bundle_weights, named_weights
from caption_core.search import SearchSettings
from caption_core.training.batches import plan_epoch
from caption_core.training.checkpoint import Progress, Snapshot
from caption_core.training.concept_labels import label_concepts
from caption_core.training.config import StageConfig, TrainConfig
from caption_core.training.curves import Curves
from caption_core.training.data import load_data
from caption_core.training.dataset import CaptionedImages
from caption_core.training.early_stopping import epochs_without_improvement
from caption_core.training.features import FeatureCache, cached_features
from caption_core.training.objectives import Concepts, ImageBatch, Objective, OwnCaptions, References
from caption_core.training.optimization import DRAWS, AveragedWeights, Trainer, learning_rate
from caption_core.training.pace import Pace
from caption_core.training.selection import DevSet
from caption_core.training.self_critical import CiderReward
from caption_core.vocabulary import Vocabulary

CURVES = "tensorboard"  # folder in a run's folder

_LOG_INTERVAL_S = 15.0


class Peers(Protocol):
    """The other workers of a run, as far as the loop needs them."""

    rank: int
    size: int

    def agree(self, value: Any) -> Any:
        """Worker 0's value, on every worker."""

    def report(self, metrics: dict[str, Any], snapshot: Snapshot) -> None:
        """Hand in an epoch's metrics and snapshot."""


def build_model(config: TrainConfig, vocabulary: Vocabulary) -> CaptioningModel:
    """Build encoder and decoder with their first weights; seeded, so every worker builds the same."""
    tf_keras.utils.set_random_seed(config.optimization.seed)
    with layers_computing_in(config.optimization.precision):
        # A bundle brings its own weights.
        encoder = build_encoder(config.encoder, None if config.initial else config.encoder_weights)
        sizes = config.decoder.config(vocabulary_size=len(vocabulary), feature_channels=encoder.output_shape[-1])
        return CaptioningModel(encoder, build_decoder(config.decoder.name, sizes))


def _read_locally(create: Callable[..., tf.Variable], **settings: Any) -> tf.Variable:
    """Create a variable that each worker reads by itself.

    Keras wants the statistics of batch norm averaged over all workers whenever they are read; here they never change,
    and a worker that reads them alone, for features that the others wait for, would wait for ever.
    """
    if settings.get("synchronization") == tf.VariableSynchronization.ON_READ:
        settings["synchronization"] = tf.VariableSynchronization.AUTO
    return create(**settings)


class TrainingLoop:
    """Runs a configuration's stages, from the start or from a snapshot.

    Every worker holds the whole run's state and computes the same updates; only worker 0 scores the dev split.

    Args:
        config: the run.
        strategy: where variables live; created before any other TensorFlow work.
        peers: the other workers.
        snapshot: where to go on, or None.
        log: takes lines of progress.
    """

    def __init__(
        self,
        config: TrainConfig,
        strategy: tf.distribute.Strategy,
        peers: Peers,
        snapshot: Snapshot | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self._config, self._strategy, self._peers, self._log = config, strategy, peers, log
        self._data = load_data(config.data, config.initial)
        with strategy.scope(), tf.variable_creator_scope(_read_locally):
            self._model = build_model(config, self._data.vocabulary)
        if config.initial:
            self._assign(bundle_weights(open_bundle(config.initial)))
        self._progress = snapshot.progress if snapshot else Progress()
        self._best = snapshot.best if snapshot else self._weights()
        self._resume = snapshot
        self._curves = Curves(config.output / CURVES if peers.rank == 0 else None)
        self._dev_s = 0.0  # that scoring the dev split took after the last epoch

    def run(self) -> None:
        """Run what is left of the stages."""
        for index in range(self._progress.stage, len(self._config.stages)):
            stage = self._config.stages[index]
            if index and self._config.stages[index - 1].metric != stage.metric and not self._progress.epoch:
                self._progress.best_score = -1.0
            self._run_stage(stage)
            self._progress.stage, self._progress.epoch, self._progress.updates = index + 1, 0, 0

    def _run_stage(self, stage: StageConfig) -> None:
        # A stage begins with the best weights before it, which are also what a resumed one's frozen part was cut from.
        self._assign(self._best)
        lower, upper = split_encoder(self._model.encoder, stage.train_encoder_from)
        train = self._features(lower, self._data.train, views=self._config.data.views)
        dev = self._features(lower, self._data.dev, views=1)
        with self._strategy.scope():
            objective = self._objective(stage, upper, dev)
        optimization = self._config.optimization
        trainer = Trainer(
            self._strategy, objective.loss, clip_norm=optimization.clip_norm, parts=optimization.accumulate
        )
        run = _StageRun(stage, train, objective, trainer)
        averages = self._start_averages(run)
        while self._progress.epoch < stage.epochs and not self._ends_early(stage):
            self._run_epoch(run, averages)

    def _ends_early(self, stage: StageConfig) -> bool:
        """Read off the history, so that a resumed run decides as the uninterrupted one does."""
        entries = [entry for entry in self._progress.history if entry["stage"] == self._progress.stage]
        passed = epochs_without_improvement([entry[f"dev_{stage.metric}"] for entry in entries], stage.min_improvement)
        if stage.patience is None or passed < stage.patience:
            return False
        self._log(f"stage {self._progress.stage + 1} ends early: {passed} epochs without a better dev {stage.metric}")
        return True

    def _features(self, lower: tf_keras.Model, images: CaptionedImages, *, views: int) -> FeatureCache:
        return cached_features(lower, images, self._config.data.cache, views=views, log=self._log)

    def _dev_set(self, features: FeatureCache) -> DevSet:
        greedy = SearchSettings(beam_width=1, max_tokens=self._config.data.max_tokens)
        return DevSet(self._data.dev, features, self._data.vocabulary, greedy)

    def _objective(self, stage: StageConfig, upper: tf_keras.Model | None, dev: FeatureCache) -> Objective:
        table, max_tokens = self._data.tokens, self._config.data.max_tokens
        if stage.objective == "concepts" and upper is not None:
            labels = label_concepts(self._data)
            return Concepts(upper, labels.train, dev, labels.dev)
        captioning = (upper, self._model.decoder, self._dev_set(dev))
        if stage.objective == "self_critical":
            return OwnCaptions(*captioning, CiderReward(table, len(self._data.vocabulary)), max_tokens)
        return References(*captioning, table, self._config.optimization.label_smoothing)

    def _start_averages(self, run: _StageRun) -> AveragedWeights:
        """Averages over the stage's trained variables; restores them, weights and optimizer from a snapshot."""
        snapshot, self._resume = self._resume, None
        in_stage = snapshot is not None and self._progress.epoch > 0
        if snapshot is not None and in_stage:
            self._assign(snapshot.current)
            if run.objective.head:
                assign_weights("head", run.objective.head, snapshot.current)
            for position, variable in enumerate(run.trainer.optimizer.variables):
                variable.assign(snapshot.optimizer[f"{position:04d}"])
        averages = AveragedWeights(run.trainer.variables, self._config.optimization.ema_decay)
        if snapshot is not None and in_stage:
            averages.values = [snapshot.current[f"average/{i:04d}"] for i in range(len(averages.values))]
            averages.updates = self._progress.updates
        return averages

    def _run_epoch(self, run: _StageRun, averages: AveragedWeights) -> None:
        pace = Pace()
        loss = self._train_epoch(run, averages, pace)
        figures = pace.figures() | run.objective.epoch_figures()
        scores = self._select(run, averages)
        self._progress.epoch += 1
        entry = {"stage": self._progress.stage, "epoch": self._progress.epoch, "loss": round(loss, 4)}
        entry |= {f"dev_{name}": round(score, 4) for name, score in scores.items()} | figures
        self._progress.history.append(entry)
        self._log(" ".join(f"{name}={value}" for name, value in entry.items()))
        self._draw_epoch(scores, figures)
        self._peers.report(entry, self._snapshot(run, averages))

    def _draw_epoch(self, scores: dict[str, float], figures: dict[str, float]) -> None:
        curves = {f"dev/{name}": score for name, score in scores.items()}
        curves |= {f"train/{name}": value for name, value in figures.items()}
        self._curves.write(len(self._progress.history) * len(self._plan()), curves)
        self._curves.flush()

    def _select(self, run: _StageRun, averages: AveragedWeights) -> dict[str, float]:
        """Score the averaged weights on the dev split, and keep them if no epoch before had a higher score."""
        started = time.monotonic()
        averages.swap()
        found = run.objective.dev_scores() if self._peers.rank == 0 else None
        scores: dict[str, float] = self._peers.agree(found)
        if scores[run.stage.metric] > self._progress.best_score:
            self._progress.best_score = scores[run.stage.metric]
            self._best = self._weights()
        averages.swap()
        self._dev_s = time.monotonic() - started
        return scores

    def _train_epoch(self, run: _StageRun, averages: AveragedWeights, pace: Pace) -> float:
        """All updates of an epoch; returns the mean loss a token in nats."""
        plan = self._plan()
        total = len(plan) * run.stage.epochs
        losses = []
        before = len(self._progress.history) * len(plan)  # updates, in all stages
        reported = time.monotonic()
        for number, batch in enumerate(self._batches(run, plan, pace)):
            rate = learning_rate(run.stage, self._progress.updates, total)
            losses.append(run.trainer.update(run.objective.batch(batch), rate))
            averages.update()
            self._progress.updates += 1
            pace.count(len(batch.images))
            self._curves.write(before + number + 1, {"train/loss": losses[-1], "train/learning_rate": rate})
            if time.monotonic() - reported > _LOG_INTERVAL_S:
                reported = time.monotonic()
                self._log_line(run, pace, number + 1, len(plan), f"loss {float(losses[-1]):.3f} rate {rate:.2e}")
        return float(np.mean([float(loss) for loss in losses]))

    def _plan(self) -> list[NDArray[np.int64]]:
        optimization = self._config.optimization
        return plan_epoch(
            self._data.tokens.lengths,
            batch_images=optimization.batch_images,
            seed=optimization.seed,
            epoch=1000 * self._progress.stage + self._progress.epoch,
        )

    def _random_stream(self) -> tuple[int, int]:
        """Decides what this worker draws in this update: dropout masks or captions."""
        optimization, peers = self._config.optimization, self._peers
        stream = self._progress.stage * 1_000_003 + optimization.seed
        return stream, DRAWS * optimization.accumulate * (self._progress.updates * peers.size + peers.rank)

    def _batches(self, run: _StageRun, plan: list[NDArray[np.int64]], pace: Pace) -> Iterator[ImageBatch]:
        """Each batch, with activations read one batch ahead in a thread."""
        generator = np.random.default_rng((self._config.optimization.seed, self._progress.stage, self._progress.epoch))
        views = generator.integers(run.train.views.shape[0], size=len(self._data.train))
        share = slice(self._peers.rank, None, self._peers.size)
        ahead = run.train.batches([images[share] for images in plan], views, pace.waiting)
        for images, activations in zip(plan, ahead, strict=True):
            yield ImageBatch(images, views[images], share, activations, self._random_stream())

    def _log_line(self, run: _StageRun, pace: Pace, done: int, batches: int, figures: str) -> None:
        epochs_left = run.stage.epochs - self._progress.epoch
        left_s = pace.remaining_s(epochs_left * batches - done) + epochs_left * self._dev_s
        epoch = f"stage {self._progress.stage + 1} epoch {self._progress.epoch + 1}/{run.stage.epochs}"
        self._log(f"{epoch} batch {done}/{batches} {figures}, {pace.describe(left_s)}")

    def _weights(self) -> Weights:
        return named_weights("encoder", self._model.encoder) | named_weights("decoder", self._model.decoder)

    def _assign(self, weights: Weights) -> None:
        assign_weights("encoder", self._model.encoder, weights)
        assign_weights("decoder", self._model.decoder, weights)

    def _snapshot(self, run: _StageRun, averages: AveragedWeights) -> Snapshot:
        head = named_weights("head", run.objective.head) if run.objective.head else {}
        current = self._weights() | head | {f"average/{i:04d}": value for i, value in enumerate(averages.values)}
        optimizer = {f"{i:04d}": variable.numpy() for i, variable in enumerate(run.trainer.optimizer.variables)}
        return Snapshot(self._progress, current, optimizer, self._best)


@dataclass(frozen=True, slots=True)
class _StageRun:
    """What a stage works with."""

    stage: StageConfig
    train: FeatureCache
    objective: Objective
    trainer: Trainer

"""Gradual magnitude pruning (Zhu and Gupta 2017, arXiv 1710.01878) with TF-MOT's schedules and masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tensorflow_model_optimization as tfmot
from tensorflow_model_optimization.python.core.sparsity.keras.pruning_impl import Pruning

from caption_core.bundle import Bundle
from caption_core.models.tracing import as_graph
from caption_core.runtimes.tensorflow import load_model
from compression.constraint import Constraint
from compression.context import StepContext, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.masks import sparsity_figures, sparsity_of
from compression.places import Place
from compression.settings.pruning import Magnitude
from compression.steps.pruning_patterns import PATTERNS, Pattern
from compression.trained_places import split_places


def apply(step: Magnitude, context: StepContext) -> Bundle:
    """Train while ever more of the smallest weights become zero, each matrix for itself.

    Matrices of the encoder that don't train, since they lie before `training.encoder_from`, are pruned at once, before
    their features are computed: what comes behind them learns to do with these features.

    Raises:
        UsageError: `layers` choose no matrix, none of those chosen trains, the pattern doesn't fit one of them, or
            there are no data to train on.
    """
    model = load_model(context.parent)
    trained, frozen = split_places(model, step)
    places = frozen + trained
    before = sparsity_of(places)
    gradual = GradualMasks(trained, step)
    prune_at_once(frozen, step)
    history = Tuner(context, model, step.training, gradual).run()
    did = f"{step.part} to {step.sparsity:.1%} zeros by magnitude while training, {step.pattern}"
    bundle = write_float_child(context, step, model, did=did)
    figures = sparsity_figures(places) | {"pruned_at_once": [place.name for place in frozen]}
    record_step(context, step, history=history, sparsity_before=before, **figures)
    return bundle


@dataclass(frozen=True, slots=True)
class Course:
    """When masks change: at step `begin`, every `every` steps from there, and last at `end`; step 0 is before training.

    Attributes:
        begin, end, every: in updates; `every` divides `end - begin`, for TF-MOT changes masks at its multiples only
            and would miss the final sparsity otherwise.
    """

    begin: int
    end: int
    every: int

    @classmethod
    def of(cls, step: Magnitude, updates: int) -> Course:
        """The step's schedule over so many updates; it ends where asked for or less than `every` before."""
        begin = min(int(step.begin * updates), updates - 1)
        if step.pattern == "m_by_n":
            return cls(begin, begin, 1)
        length = max(1, int(step.end * updates) - begin)
        every = min(step.every, length)
        return cls(begin, begin + length // every * every, every)

    def changes_at(self, at: int) -> bool:
        """Whether masks change at step `at`."""
        return self.begin <= at <= self.end and (at - self.begin) % self.every == 0

    def schedule(self, step: Magnitude) -> tfmot.sparsity.keras.PruningSchedule:
        """TF-MOT's."""
        if step.schedule == "constant" or self.begin == self.end:
            return tfmot.sparsity.keras.ConstantSparsity(step.sparsity, self.begin, self.end, self.every)
        return tfmot.sparsity.keras.PolynomialDecay(
            step.initial_sparsity, step.sparsity, self.begin, self.end, 3, self.every
        )


class _Masks:
    """TF-MOT's mask computation over views of the places' weights (see `Pattern`).

    Args:
        places: to be pruned.
        patterns: as many.
        step: says how.
        course: when masks change.
    """

    def __init__(self, places: Sequence[Place], patterns: Sequence[Pattern], step: Magnitude, course: Course) -> None:
        self.course = course
        self._places, self._patterns = places, patterns
        self._by_neighbours = step.pattern == "m_by_n"
        self._views = [self._view(place, pattern) for place, pattern in zip(places, patterns, strict=True)]
        self.kept = [tf.Variable(tf.ones_like(place.variable, tf.bool), trainable=False) for place in places]
        self._step = tf.Variable(0, dtype=tf.int64, trainable=False)
        block = step.block if step.pattern == "block" else (1, 1)
        m_by_n = step.m_by_n if self._by_neighbours else None
        self._pruning = Pruning(lambda: self._step, self._views, course.schedule(step), block, "AVG", m_by_n)
        self._apply = as_graph(self._traced_apply)

    def apply(self) -> None:
        """Set what the masks leave out to zero."""
        self._apply()

    def advance(self, at: int) -> None:
        """Step `at` has come: change the masks if they are to change, and apply them."""
        if self.course.changes_at(at):
            self._change(at)
        self.apply()

    def _change(self, at: int) -> None:
        # TF-MOT computes masks of neighbours at its step 1, and at no other.
        self._step.assign(at - self.course.begin + 1 if self._by_neighbours else at)
        matrices = [*zip(self._places, self._patterns, self._views, self.kept, strict=True)]
        for place, pattern, (view, _, _), _ in matrices:
            view.assign(pattern.view(place.variable))
        self._pruning.conditional_mask_update()
        for _, pattern, (_, mask, _), kept in matrices:
            kept.assign(pattern.mask(mask) > 0)

    @staticmethod
    def _view(place: Place, pattern: Pattern) -> tuple[tf.Variable, tf.Variable, tf.Variable]:
        """What TF-MOT calls weight, mask and threshold."""
        view = pattern.view(place.variable)
        return (
            tf.Variable(view, trainable=False),
            tf.Variable(tf.ones_like(view), trainable=False),
            tf.Variable(0.0, trainable=False),
        )

    def _traced_apply(self) -> None:
        for place, kept in zip(self._places, self.kept, strict=True):
            place.variable.assign(tf.where(kept, place.variable, 0.0))


class GradualMasks(Constraint):
    """Masks that change along a schedule, and hold after every update.

    Args:
        places: the matrices; each gets the schedule's sparsity.
        step: schedule and pattern.

    Raises:
        UsageError: a matrix doesn't fit the pattern.
    """

    def __init__(self, places: Sequence[Place], step: Magnitude) -> None:
        self.places = places
        self._step = step
        self._patterns = [PATTERNS[step.pattern](place, step) for place in places]
        self._updates = 0
        self._masks: _Masks  # from `begin` on

    @property
    def state(self) -> Sequence[tf.Variable]:
        """See `Constraint`: the masks."""
        return self._masks.kept

    def begin(self, updates: int) -> None:
        """See `Constraint`."""
        self._updates = updates
        self._masks = _Masks(self.places, self._patterns, self._step, Course.of(self._step, updates))
        self._masks.advance(0)

    def after_update(self, update: int, updates: int) -> None:
        """See `Constraint`."""
        del updates
        self._masks.advance(update + 1)

    def is_settled(self, share: float) -> bool:
        """See `Constraint`: once the schedule has ended."""
        return round(share * self._updates) >= self._masks.course.end

    @contextmanager
    def materialized(self) -> Iterator[None]:
        """See `Constraint`: averages of weights remember what was there before it was pruned."""
        weights = [place.variable.numpy() for place in self.places]
        self._masks.apply()
        try:
            yield
        finally:
            for place, values in zip(self.places, weights, strict=True):
                place.variable.assign(values)

    def figures(self) -> dict[str, Any]:
        """See `Constraint`."""
        return {"sparsity": round(sparsity_of(self.places), 4)}


def prune_at_once(places: Sequence[Place], step: Magnitude) -> None:
    """Give each of the places the step's final sparsity in its pattern.

    Raises:
        UsageError: a matrix doesn't fit the pattern.
    """
    patterns = [PATTERNS[step.pattern](place, step) for place in places]
    _Masks(places, patterns, step, Course(0, 0, 1)).advance(0)

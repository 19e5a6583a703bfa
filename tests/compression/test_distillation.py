"""Losses against a teacher's words, and tables of its captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from caption_core.models.tracing import as_graph
from caption_core.search import SearchSettings
from caption_core.training.caption_loss import CaptionLoss
from caption_core.training.data import TrainingData
from caption_core.training.features import FeatureCache, cached_features
from caption_core.training.objectives import ImageBatch
from caption_core.training.selection import DevSet
from caption_core.vocabulary import PAD
from compression.context import StepContext
from compression.distillation import DistilledBatch, DistilledCaptions, divergence, taught
from compression.fine_tuning import load_training_data
from compression.settings.training import Training
from compression.teacher import Teacher
from tests.compression.builders import bundle_with_decoder, decoder_of, loaded
from tests.compression.conftest import MakeContext

pytestmark = pytest.mark.usefixtures("teachers_loaded_once")

IMAGES = np.array([3, 0, 7, 1])


@dataclass(frozen=True)
class Lesson:
    """A student before its teacher."""

    context: StepContext
    data: TrainingData
    teacher: Teacher
    features: FeatureCache

    @classmethod
    def of(cls, context: StepContext, views: int = 1) -> Lesson:
        data = load_training_data(context, Training())
        encoder = loaded(context.teacher).encoder
        features = cached_features(encoder, data.train, context.cache, views=views, log=context.log)
        return cls(context, data, Teacher(context, data, views=views, beam=2), features)

    def objective(self, **training: Any) -> DistilledCaptions:
        dev = DevSet(self.data.dev, self.features, self.data.vocabulary, SearchSettings(beam_width=1))
        decoder = decoder_of(self.context.parent)
        return DistilledCaptions(None, decoder, dev, self.data.tokens, self.teacher, Training(**training), 0.1)

    def batch(self, objective: DistilledCaptions) -> DistilledBatch:
        views = np.zeros(len(IMAGES), np.int64)
        return objective.batch(ImageBatch(IMAGES, views, slice(None), self.features.batch(IMAGES), (1, 0)))

    def loss(self, **training: Any) -> float:
        objective = self.objective(**training)
        function = as_graph(objective.loss, objective.loss.signature)
        return float(function(*self.batch(objective).tensors()))


def test_the_divergence_is_the_published_one() -> None:
    student, teacher = np.random.default_rng(0).normal(size=(2, 5, 7)).astype(np.float32)
    p = np.exp(teacher / 2) / np.exp(teacher / 2).sum(axis=-1, keepdims=True)
    q = np.exp(student / 2) / np.exp(student / 2).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(divergence(student, teacher, 2.0), (p * np.log(p / q)).sum(axis=-1), atol=1e-5)


def test_it_pulls_the_student_towards_the_teacher_only() -> None:
    student = tf.Variable([[1.0, 0.0]])
    with tf.GradientTape() as tape:
        value = divergence(student, tf.constant([[0.0, 1.0]]), 1.0)
    gradient = tape.gradient(value, student).numpy()[0]
    assert gradient[0] > 0 > gradient[1]


def test_of_itself_a_captioner_learns_nothing_new(make_context: MakeContext) -> None:
    """All of the target is the teacher's, and the teacher is the student: no loss, on any words."""
    lesson = Lesson.of(make_context())
    assert lesson.loss(soft_targets=1.0, temperature=3.0) == pytest.approx(0.0, abs=1e-5)


@pytest.fixture
def lesson(make_context: MakeContext, tiny_bundle: Path, tmp_path: Path) -> Lesson:
    return Lesson.of(make_context(parent=bundle_with_decoder(tiny_bundle, tmp_path / "student")))


@pytest.mark.slow
def test_references_and_teacher_share_the_target(lesson: Lesson) -> None:
    references, mixed, teacher = (lesson.loss(soft_targets=share, temperature=2.0) for share in (0.0, 0.3, 1.0))
    assert mixed == pytest.approx(0.7 * references + 0.3 * teacher, rel=1e-4)
    assert references == pytest.approx(_plain_loss(lesson), rel=1e-5)
    assert teacher == pytest.approx(4 * _mean_divergence(lesson), rel=1e-3)


def _plain_loss(lesson: Lesson) -> float:
    table = lesson.data.tokens
    tokens = table.tokens[IMAGES][:, :, : table.lengths[IMAGES].max()]
    words, weights = float((tokens[:, :, 1:] != PAD).sum()), np.ones(tokens.shape[:2], np.float32)
    compute = CaptionLoss(None, decoder_of(lesson.context.parent))
    return float(compute(lesson.features.batch(IMAGES), tokens, weights, words, 0.1, (1, 0)))


def _mean_divergence(lesson: Lesson) -> float:
    """At temperature 2, over all words."""
    tokens = lesson.data.tokens.tokens[IMAGES]
    p, q = (
        tf.nn.softmax(decoder_of(bundle)(lesson.features.batch(IMAGES), tokens[:, :, :-1]) / 2).numpy()
        for bundle in (lesson.context.teacher, lesson.context.parent)
    )
    return float((p * np.log(p / q)).sum(axis=-1)[tokens[:, :, 1:] != PAD].mean())


def test_parts_of_a_batch_add_up(lesson: Lesson) -> None:
    objective = lesson.objective(soft_targets=0.5)
    batch = lesson.batch(objective)
    parts = [float(objective.loss(*part.tensors())) for part in batch.parts(3)]
    assert len(parts) == 2
    assert sum(parts) == pytest.approx(float(objective.loss(*batch.tensors())), rel=1e-4)


def test_the_teacher_sees_the_views_that_the_student_sees(make_context: MakeContext) -> None:
    lesson = Lesson.of(make_context(), views=3)
    objective, views = lesson.objective(soft_targets=1.0), np.array([2, 0, 2, 0])  # view 2 is a crop
    activations = lesson.features.batch(IMAGES)[1:3]
    batch = objective.batch(ImageBatch(IMAGES, views, slice(1, 3), activations, (1, 0)))
    np.testing.assert_array_equal(batch.features, lesson.features.batch(IMAGES, views)[1:3])
    assert not np.array_equal(batch.features, lesson.features.batch(IMAGES)[1:3])
    assert batch.tensors()[-1].shape == (2,)  # the seed comes last


def test_tables_hold_the_teachers_captions(lesson: Lesson) -> None:
    data, teacher, config = lesson.data, lesson.teacher, lesson.context.captions()
    found = teacher.captions(8)

    def texts(table: NDArray[np.int32]) -> list[tuple[str, ...]]:
        return [tuple(data.vocabulary.decode(row[1:]) for row in group if row.any()) for group in table]

    assert texts(taught(data, teacher, "teacher", config).tokens) == list(found)
    both = texts(taught(data, teacher, "both", config).tokens)
    assert both == [own + theirs for own, theirs in zip(texts(data.tokens.tokens), found, strict=True)]
    assert taught(data, teacher, "references", config) is data.tokens

"""A student before its teacher, from the recipe's step to the bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from caption_core.bundle import Bundle
from caption_core.training.features import cached_features
from caption_core.vocabulary import PAD
from compression.context import StepContext
from compression.distillation import divergence
from compression.fine_tuning import load_training_data
from compression.settings.fine_tuning import Distill
from compression.settings.training import Training
from compression.steps.distill import apply
from compression.variants import RECORD
from tests.compression.builders import bundle_with_decoder, decoder_of, loaded
from tests.compression.conftest import MakeContext

pytestmark = pytest.mark.usefixtures("teachers_loaded_once")


@pytest.mark.slow
@pytest.mark.parametrize("level", ["word", "both"])
def test_a_student_comes_to_speak_as_its_teacher(
    make_context: MakeContext, tiny_bundle: Path, tmp_path: Path, level: str
) -> None:
    context = make_context(parent=bundle_with_decoder(tiny_bundle, tmp_path / "student"))
    training = {"epochs": 8, "learning_rate": 0.03, "warmup_steps": 0, "soft_targets": 1.0, "teacher_beam": 2}
    step = Distill.model_validate({"level": level, "training": training})
    bundle = apply(step, context)
    assert distance(context, bundle) < 0.8 * distance(context, context.parent)
    record = json.loads((context.folder / RECORD).read_text())
    assert record["teacher"] == context.teacher.model_id
    assert record["history"][-1]["loss"] < record["history"][0]["loss"]
    assert record["settings"]["training"]["captions"] == ("references" if level == "word" else "both")


def distance(context: StepContext, student: Bundle) -> float:
    """Mean divergence from the teacher over all words of the training captions."""
    data = load_training_data(context, Training())
    encoder = loaded(context.teacher).encoder
    features = cached_features(encoder, data.train, context.cache, views=1, log=context.log).batch(np.arange(12))
    words = tf.where(data.tokens.tokens[:, :, 1:] != PAD)
    ours, theirs = (
        tf.gather_nd(decoder_of(bundle)(features, data.tokens.tokens[:, :, :-1]), words)
        for bundle in (student, context.teacher)
    )
    return float(tf.reduce_mean(divergence(ours, theirs, 1.0)))

"""A teacher over the training images: its features, its words in the student's vocabulary, its captions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from caption_core.errors import UsageError
from caption_core.search import SearchSettings, search
from caption_core.training.batches import tokenize
from caption_core.training.data import TrainingData
from caption_core.vocabulary import START, Vocabulary
from compression import teacher as teaching
from compression.context import StepContext
from compression.fine_tuning import load_training_data
from compression.settings.training import Training
from compression.teacher import Teacher, token_ids
from tests.bundle_builders import COLOURS, PATTERNS, paint
from tests.compression.builders import decoder_of
from tests.compression.conftest import MakeContext

pytestmark = pytest.mark.usefixtures("teachers_loaded_once")


def data_of(context: StepContext, words: tuple[str, ...] | None = None) -> TrainingData:
    data = load_training_data(context, Training())
    if words is None:
        return data
    vocabulary = Vocabulary(words)
    return replace(data, vocabulary=vocabulary, tokens=tokenize(data.train, vocabulary, max_tokens=8))


@pytest.mark.slow
def test_its_captions_are_those_of_its_own_beam_search(make_context: MakeContext, tiny_bundle: Path) -> None:
    context = make_context()
    found = Teacher(context, data_of(context), views=1, beam=3).captions(max_tokens=6)
    images = np.stack([paint(colour, pattern) for colour in COLOURS for pattern in PATTERNS])
    captioner = load_captioner(tiny_bundle)
    alpha = captioner.search.length_penalty
    captions = captioner.caption(images, SearchSettings(3, 6, alpha, candidates=3))
    assert found == tuple(tuple(text for text, _ in caption.candidates) for caption in captions)
    assert len(set(found[0])) == 3


def test_captions_are_found_once_for_a_search_and_its_images(
    make_context: MakeContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    context = replace(make_context(), cache=tmp_path / "cache")
    teacher = Teacher(context, data_of(context), views=1, beam=2)
    found = teacher.captions(max_tokens=6)
    searches = []

    def count(*arguments: Any) -> Any:
        searches.append(arguments)
        return search(*arguments)

    monkeypatch.setattr(teaching, "search", count)
    assert Teacher(context, data_of(context), views=1, beam=2).captions(max_tokens=6) == found
    assert searches == []
    teacher.captions(max_tokens=5)
    Teacher(context, data_of(context), views=1, beam=3).captions(max_tokens=6)
    assert len(searches) == 2


@pytest.mark.parametrize("damage", ['[["a red', '[["a wall"]]', "[3]", "[[1, 2]]", "\xff"])
def test_a_damaged_file_of_captions_is_made_anew(make_context: MakeContext, tmp_path: Path, damage: str) -> None:
    lines: list[str] = []
    context = replace(make_context(), cache=tmp_path / "cache", log=lines.append)
    teacher = Teacher(context, data_of(context), views=1, beam=2)
    found = teacher.captions(max_tokens=6)
    (path,) = context.cache.glob("captions-*.json")
    whole = path.read_bytes()
    path.write_bytes(damage.encode("latin-1"))
    assert teacher.captions(max_tokens=6) == found
    assert path.read_bytes() == whole
    assert any(str(path) in line and "damaged" in line for line in lines)


def test_ids_and_logits_are_the_students(make_context: MakeContext, tiny_bundle: Path) -> None:
    """A student of fewer words in another order gets, for its token, what the teacher thinks of that word."""
    context = make_context()
    whole = data_of(context)
    words = tuple(reversed(whole.vocabulary.words[:6]))
    data = data_of(context, words)
    teacher = Teacher(context, data, views=1, beam=2)
    features = teacher.features(np.arange(2), 0)
    captions = np.array([[[START, 5, 4, 3]], [[START, 9, 8, 2]]], np.int32)
    places = tf.constant([[0, 0, 0], [0, 0, 2], [1, 0, 1]], tf.int64)
    found = teacher.word_logits(features, tf.constant(captions), places)
    ids = token_ids(data.vocabulary, whole.vocabulary)
    assert [whole.vocabulary.tokens[number] for number in ids] == list(data.vocabulary.tokens)
    expected = decoder_of(open_bundle(tiny_bundle))(tf.constant(features), ids[captions[:, :, :-1]])
    np.testing.assert_allclose(found, tf.gather_nd(expected, places).numpy()[:, ids], atol=1e-4)


def test_a_word_that_the_teacher_does_not_know_is_named(make_context: MakeContext) -> None:
    context = make_context()
    with pytest.raises(UsageError, match=r"doesn't know 2 of the student's 7 words \(the first is zebra\)"):
        Teacher(context, data_of(context, ("red", "zebra", "unicorn")), views=1, beam=1)


def test_a_compressed_captioner_can_not_teach(make_context: MakeContext, tiny_int8_bundle: Path) -> None:
    context = replace(make_context(), teacher=open_bundle(tiny_int8_bundle))
    with pytest.raises(UsageError, match="litert bundle can't teach"):
        Teacher(context, data_of(context), views=1, beam=1)

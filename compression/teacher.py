"""The teacher of a distillation: a float captioner's features, words and captions of the training images."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from filelock import FileLock
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle
from caption_core.errors import UsageError
from caption_core.models.captioning import CaptioningModel, DecoderFunctions
from caption_core.runtimes.tensorflow import load_model
from caption_core.search import SearchSettings, search
from caption_core.training.data import TrainingData
from caption_core.training.features import cached_features, files_stamp
from caption_core.vocabulary import Vocabulary
from compression.context import StepContext

_BATCH_IMAGES = 50

Captions = tuple[tuple[str, ...], ...]
"""An image's captions, best first, for every image."""


class Teacher:
    """A float captioner over the training images, whatever its encoder, image size and decoder.

    Its vocabulary may hold more words than the student's: logits are given over the student's tokens, so that its
    distribution is renormalized over these.

    Args:
        context: the step that learns from `context.teacher`.
        data: the student's data, in the student's vocabulary.
        views: in how many ways a training image is seen; a view shows teacher and student the same.
        beam: hypotheses an image that its search keeps, and captions that come of it.

    Raises:
        UsageError: the teacher isn't a float bundle, or does not know a word of the student's vocabulary.
    """

    def __init__(self, context: StepContext, data: TrainingData, *, views: int, beam: int) -> None:
        self._bundle, self._data, self._beam = context.teacher, data, beam
        self._cache, self._log = context.cache, context.log
        self._vocabulary = Vocabulary.load(self._bundle.path(VOCABULARY))
        self._ids = token_ids(data.vocabulary, self._vocabulary)
        model = load_float(self._bundle)
        self._decoder = model.decoder
        self._features = cached_features(model.encoder, data.train, context.cache, views=views, log=context.log)

    @property
    def features_spec(self) -> tf.TensorSpec:
        """Of `features`, of any number of images."""
        return tf.TensorSpec((None, *self._features.views.shape[2:]), tf.float32)

    def features(self, images: NDArray[np.int64], views: NDArray[np.int64] | int) -> NDArray[np.float32]:
        """Features float32 [batch, L, channels] of training images int64 [batch], each in its view int64 [batch]."""
        return self._features.batch(images, views)

    def word_logits(self, features: tf.Tensor, tokens: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """Logits of words, given those before them; without dropout, and constant for gradients.

        Args:
            features: float32 [B, L, channels], of `features`.
            tokens: int32 [B, K, T], captions in the student's ids, start token first.
            places: int64 [N, 3], which words of `tokens[:, :, 1:]`.

        Returns:
            float32 [N, V], V the student's tokens.
        """
        hidden = self._decoder.unroll(features, tf.gather(self._ids, tokens[:, :, :-1]))
        logits = self._decoder.logits(tf.gather_nd(hidden, places))
        return tf.stop_gradient(tf.gather(logits, self._ids, axis=1))

    def captions(self, max_tokens: int) -> Captions:
        """Its captions of the training images as they are (view 0), found once and kept in the cache.

        Args:
            max_tokens: words of the longest.
        """
        settings = replace(
            self._bundle.manifest.search.settings(),
            beam_width=self._beam,
            candidates=self._beam,
            max_tokens=max_tokens,
        )
        path = self._cache / f"captions-{self._key(settings)}.json"
        self._cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            kept = _read(path, len(self._data.train), self._log)
            return kept if kept is not None else _write(path, self._search(settings))

    def _key(self, settings: SearchSettings) -> str:
        digest = hashlib.sha256(json.dumps([self._bundle.digest, asdict(settings)]).encode())
        digest.update(files_stamp(self._data.train))
        return digest.hexdigest()[:20]

    def _search(self, settings: SearchSettings) -> Captions:
        functions, found = DecoderFunctions(self._decoder), list[tuple[str, ...]]()
        images = np.arange(len(self._data.train))
        for begin in range(0, len(images), _BATCH_IMAGES):
            state, step = functions.start(self.features(images[begin : begin + _BATCH_IMAGES], 0))
            hypotheses = search(step, state, settings)
            finished = np.isfinite(hypotheses.scores)
            rows = zip(hypotheses.tokens, finished, strict=True)
            found += [tuple(self._vocabulary.decode(ids) for ids in tokens[ends]) for tokens, ends in rows]
        self._log(f"teacher's captions: {len(images)} images, beam {settings.beam_width}")
        return tuple(found)


def load_float(bundle: Bundle) -> CaptioningModel:
    """A teacher's model.

    Raises:
        UsageError: it isn't a float bundle.
    """
    if bundle.manifest.runtime != "tensorflow":
        raise UsageError(f"{bundle.folder}: a {bundle.manifest.runtime} bundle can't teach; give a float one")
    return load_model(bundle)


def token_ids(student: Vocabulary, teacher: Vocabulary) -> NDArray[np.int32]:
    """The teacher's id of each of the student's tokens, int32 [V of the student].

    Raises:
        UsageError: the teacher lacks some; the message counts them and names the first.
    """
    known = {token: number for number, token in enumerate(teacher.tokens)}
    if lacking := [token for token in student.tokens if token not in known]:
        raise UsageError(
            f"the teacher doesn't know {len(lacking)} of the student's {len(student)} words (the first is {lacking[0]})"
        )
    return np.array([known[token] for token in student.tokens], np.int32)


def _read(path: Path, images: int, log: Callable[[str], None]) -> Captions | None:
    """What is kept; None where nothing is, or what is there is damaged: it is found anew then."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        document = None
    if not _is_whole(document, images):
        log(f"{path}: damaged; the teacher's captions are found anew")
        return None
    return tuple(map(tuple, document))


def _is_whole(document: Any, images: int) -> bool:
    if not isinstance(document, list) or len(document) != images:
        return False
    return all(isinstance(group, list) and all(isinstance(text, str) for text in group) for group in document)


def _write(path: Path, captions: Captions) -> Captions:
    temporary = path.with_suffix(".partial")
    temporary.write_text(json.dumps(captions), encoding="utf-8")
    os.replace(temporary, path)
    return captions

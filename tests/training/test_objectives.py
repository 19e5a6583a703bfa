"""Workers' shares of a batch, empty ones included, add up to the batch, whatever a stage learns from."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tf_keras
from numpy.typing import NDArray

from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.search import SearchSettings
from caption_core.training.batches import TokenTable, tokenize
from caption_core.training.caption_loss import CaptionBatch
from caption_core.training.concept_labels import choose_concepts, concept_labels
from caption_core.training.dataset import CaptionedImages
from caption_core.training.features import FeatureCache
from caption_core.training.objectives import Concepts, ImageBatch, Objective, OwnCaptions, References
from caption_core.training.selection import DevSet
from caption_core.training.self_critical import CiderReward
from caption_core.vocabulary import Vocabulary

CAPTIONS = (
    ("a dog runs on grass", "the brown dog runs"),
    ("a man rides a red bike", "man on a bike"),
    ("two children play in snow", "children play in the snow"),
    ("a dog in the snow", "the dog plays"),
    ("a man on grass", "the man stands"),
)
IMAGES = CaptionedImages(Path(), tuple("abcde"), CAPTIONS)
VOCABULARY = Vocabulary.from_captions((caption for group in CAPTIONS for caption in group), min_count=1)
TABLE = tokenize(IMAGES, VOCABULARY, max_tokens=8)
FEATURES = FeatureCache(np.random.default_rng(0).normal(size=(1, 5, 3, 6)).astype(np.float16))
Model = tuple[tf_keras.Model, Decoder]


@pytest.fixture
def model() -> Model:
    tf_keras.utils.set_random_seed(2)
    upper = tf_keras.Sequential([tf_keras.Input((3, 6)), tf_keras.layers.Dense(6)])
    rates = dict.fromkeys(("feature_dropout", "embedding_dropout", "output_dropout"), 0.0)
    sizes = {"units": 8, "embedding_units": 4, "value_units": 8, "attention_units": 4, "feature_channels": 6}
    config = decoder_config("soft_attention", {"vocabulary_size": len(VOCABULARY), **sizes, **rates})
    return upper, build_decoder("soft_attention", config)


def references(model: Model) -> Objective:
    return References(*model, dev_set(), TABLE, 0.1)


def own_captions(model: Model) -> Objective:
    return OwnCaptions(*model, dev_set(), CiderReward(TABLE, len(VOCABULARY)), 8)


def concepts(model: Model) -> Objective:
    labels = concept_labels(TABLE, choose_concepts(TABLE))
    return Concepts(model[0], labels, FEATURES, labels)


def dev_set() -> DevSet:
    return DevSet(IMAGES, FEATURES, VOCABULARY, SearchSettings(beam_width=1, max_tokens=8))


def image_batch(images: Sequence[int], share: slice, activations: NDArray[np.float32]) -> ImageBatch:
    return ImageBatch(np.array(images), np.zeros(len(images), np.int64), share, activations, (0, 0))


def loss_of(objective: Objective, images: list[int], share: slice) -> float:
    mine = np.array(images)[share]
    batch = objective.batch(image_batch(images, share, FEATURES.batch(mine)))
    return float(objective.loss(*batch.tensors()))


@pytest.mark.parametrize("build", [references, concepts])
@pytest.mark.parametrize("images", [[0, 1, 2, 3, 4], [3]])
def test_shares_add_up_to_the_batch(
    build: Callable[[Model], Objective], images: list[int], model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("caption_core.training.concepts._DROPOUT", 0.0)
    objective = build(model)
    whole = loss_of(objective, images, slice(None))
    assert whole != 0.0
    shares = [loss_of(objective, images, slice(rank, None, 2)) for rank in range(2)]
    assert sum(shares) == pytest.approx(whole, rel=1e-4)


def test_a_worker_s_own_captions_are_divided_by_those_of_all_workers(model: Model) -> None:
    objective = own_captions(model)
    share = slice(1, None, 2)
    batch = objective.batch(image_batch(range(5), share, FEATURES.batch(np.arange(5)[share])))
    assert isinstance(batch, CaptionBatch)
    assert batch.divisor == 5 * 5  # five images, five draws each
    assert batch.weights.shape == (2, 5)
    assert 0.0 <= objective.epoch_figures()["reward"] <= 10.0


def test_a_worker_may_have_no_image_to_caption_itself(model: Model) -> None:
    objective = own_captions(model)
    batch = objective.batch(image_batch([3], slice(1, None, 2), FEATURES.batch(np.array([], np.int64))))
    assert float(objective.loss(*batch.tensors())) == 0.0


@pytest.mark.parametrize("build", [references, own_captions, concepts])
def test_dev_scores_hold_what_epochs_are_chosen_by(build: Callable[[Model], Objective], model: Model) -> None:
    scores = build(model).dev_scores()
    assert ("concept_mAP" in scores) == (build is concepts)
    assert ("CIDEr-D" in scores) == (build is not concepts)
    assert all(np.isfinite(score) for score in scores.values())


def test_one_caption_an_image_is_padded_to_two_columns() -> None:
    single = CaptionedImages(Path(), ("a",), (("a dog runs",),))
    table: TokenTable = tokenize(single, VOCABULARY, max_tokens=4)
    assert table.tokens.shape == (1, 2, 6)
    assert not table.tokens[0, 1].any()
    assert table.lengths.tolist() == [5]

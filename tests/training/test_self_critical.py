from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from caption_core.metrics.scores import corpus_scores
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.soft_attention import SoftAttentionDecoder
from caption_core.training.batches import tokenize
from caption_core.training.config import StageConfig
from caption_core.training.dataset import CaptionedImages
from caption_core.training.loop import TrainingLoop
from caption_core.training.self_critical import CiderReward, Sampler, advantages, with_start
from caption_core.vocabulary import END, PAD, START, UNKNOWN, Vocabulary
from tests.bundle_builders import SoloPeers, SyntheticSet, tiny_config

CAPTIONS = (
    ("a dog runs on grass", "the brown dog runs"),
    ("a man rides a red bike", "man on a bike", "a cyclist"),
    ("two children play in snow", "kids play"),
)
IMAGES = CaptionedImages(Path(), ("a", "b", "c"), CAPTIONS)
VOCABULARY = Vocabulary.from_captions((caption for group in CAPTIONS for caption in group), min_count=1)


def test_a_reward_is_the_cider_d_of_the_caption_with_its_end() -> None:
    texts = ["a dog runs on grass", "a man on a bike", "two dog play"]
    samples = np.full((3, 1, 8), PAD, np.int32)
    for row, text in enumerate(texts):
        ids = [*VOCABULARY.encode(text, max_tokens=7), END]
        samples[row, 0, : len(ids)] = ids
    reward = CiderReward(tokenize(IMAGES, VOCABULARY, max_tokens=8), len(VOCABULARY))
    found = reward(np.arange(3), samples)[:, 0]
    candidates = {name: f"{text} endword" for name, text in zip(IMAGES.names, texts, strict=True)}
    references = {
        name: [f"{text} endword" for text in group] for name, group in zip(IMAGES.names, CAPTIONS, strict=True)
    }
    assert found.mean() == pytest.approx(corpus_scores(candidates, references).cider_d, abs=1e-5)


def test_rewards_are_those_of_the_image_asked_for() -> None:
    samples = np.full((2, 2, 8), PAD, np.int32)
    for column, text in enumerate(("a dog runs on grass", "kids play")):
        ids = [*VOCABULARY.encode(text, max_tokens=7), END]
        samples[:, column, : len(ids)] = ids
    reward = CiderReward(tokenize(IMAGES, VOCABULARY, max_tokens=8), len(VOCABULARY))
    found = reward(np.array([2, 0]), samples)
    assert found[0, 1] > found[0, 0]
    assert found[1, 0] > found[1, 1]


def test_advantages_compare_with_the_other_samples_and_cancel() -> None:
    found = advantages(np.array([[1.0, 2.0, 6.0]], np.float32))
    np.testing.assert_allclose(found, [[-3.0, -1.5, 4.5]])


def test_samples_follow_the_models_distribution_and_hold_words_only() -> None:
    config = SoftAttentionConfig(vocabulary_size=6, feature_channels=4, units=8, embedding_units=8, value_units=8)
    decoder = SoftAttentionDecoder(config)
    decoder.output_bias.assign([9.0, 9.0, 0.0, 9.0, 1.0, 0.0])
    features = np.zeros((400, 9, 4), np.float32)
    samples = Sampler(None, decoder, max_tokens=5)(features, (1, 0))
    assert samples.shape == (400, 5, 5)
    assert not np.isin(samples, (START, UNKNOWN)).any()
    ended = np.maximum.accumulate(samples == END, axis=-1)
    assert np.all((samples == PAD) == (ended & (samples != END)))
    assert 0 < np.mean(ended[..., -1]) < 1  # a caption that is cut has no end token that nobody drew
    shares = np.bincount(samples[..., 0].ravel(), minlength=6)[[END, 4, 5]] / samples[..., 0].size
    np.testing.assert_allclose(shares, np.exp([0.0, 1.0, 0.0]) / (2 + np.e), atol=0.05)


def test_a_start_token_is_put_before_samples() -> None:
    samples = np.array([[[5, END, PAD, PAD], [END, PAD, PAD, PAD]]], np.int32)
    assert with_start(samples).tolist() == [[[START, 5, END], [START, END, PAD]]]


@pytest.mark.slow
def test_a_self_critical_stage_raises_the_score(synthetic_set: SyntheticSet, tmp_path: Path) -> None:
    stages = (
        StageConfig(epochs=10, learning_rate=0.01, warmup_steps=5),
        StageConfig(epochs=25, learning_rate=0.005, warmup_steps=5, objective="self_critical"),
    )
    peers = SoloPeers()
    config = tiny_config(synthetic_set, tmp_path, stages=stages)
    TrainingLoop(config, tf.distribute.get_strategy(), peers, log=lambda _: None).run()
    scores = [entry["dev_CIDEr-D"] for entry in peers.metrics]
    assert max(scores[10:]) > max(scores[:10]) + 0.2
    rewards = [entry["reward"] for entry in peers.metrics if "reward" in entry]
    assert len(rewards) == 25
    assert all(0.0 < reward < 10.0 for reward in rewards)

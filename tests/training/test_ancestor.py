from dataclasses import replace
from pathlib import Path

import pytest

from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from caption_core.training.ancestor import check_ancestor
from caption_core.training.config import DecoderChoice, TrainConfig
from caption_core.training.session import run_training
from tests.bundle_builders import SyntheticSet, tiny_config, tiny_decoder


@pytest.fixture
def config(synthetic_set: SyntheticSet, tiny_bundle: Path, tmp_path: Path) -> TrainConfig:
    return tiny_config(synthetic_set, tmp_path / "run", initial=tiny_bundle)


def test_a_bundle_of_the_same_model_is_taken_whatever_its_dropout(config: TrainConfig) -> None:
    check_ancestor(replace(config, decoder=tiny_decoder(dropout=0.4)))


def test_a_bundle_of_another_model_is_refused_with_every_difference(config: TrainConfig) -> None:
    decoder = DecoderChoice("soft_attention", {**tiny_decoder().settings, "heads": 2})
    with pytest.raises(UsageError, match=r"images are \(224, 224\), not \(96, 96\); its decoder's heads is 1, not 2"):
        check_ancestor(replace(config, encoder=EncoderConfig(image_size=(96, 96)), decoder=decoder))
    with pytest.raises(UsageError, match="decoder is soft_attention, not merge"):
        check_ancestor(replace(config, decoder=DecoderChoice("merge")))


def test_an_int8_bundle_cannot_be_trained_on(config: TrainConfig, tiny_int8_bundle: Path) -> None:
    with pytest.raises(UsageError, match="litert bundle can't be trained on"):
        check_ancestor(replace(config, initial=tiny_int8_bundle))


def test_another_model_is_refused_before_the_output_folder_is_made(config: TrainConfig) -> None:
    with pytest.raises(UsageError, match="another model"):
        run_training(replace(config, decoder=DecoderChoice("merge")), address=None, command="")
    assert not config.output.exists()

"""What steps make of a captioner's design, and which of them are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from compression.architecture_change import Design, check, design_after, design_of, takes_encoder_weights
from compression.settings.architecture import Architecture, CutVocabulary, FactorizeEmbedding, TieEmbedding
from compression.settings.pruning import Hard
from compression.settings.step import Step

ATTENDING = Design(EncoderConfig(), "soft_attention", {"units": 64, "embedding_units": 32}, 104)
MERGING = Design(EncoderConfig(features="global"), "merge", {"units": 48, "embedding_units": 64}, 104)
VGG16 = Design(EncoderConfig("vgg16", "global"), "merge", {}, 104)


def test_a_bundles_design_builds_the_decoder_that_it_names(bundled: Path) -> None:
    manifest = open_bundle(bundled / "captioner").manifest
    design, sizes = design_of(manifest), manifest.architecture.decoder_config
    config = design.decoder_config(int(sizes["feature_channels"]))
    assert {name: getattr(config, name) for name in sizes} == sizes
    assert design.encoder.size == (manifest.preprocessing.height, manifest.preprocessing.width)


def test_what_an_architecture_does_not_name_stays() -> None:
    design = design_after(Architecture(image_size=160, decoder_settings={"units": 40}), ATTENDING)
    assert (design.encoder.name, design.encoder.size) == ("mobilenet_v2", (160, 160))
    assert dict(design.settings) == {"units": 40, "embedding_units": 32}
    other = design_after(Architecture(encoder="efficientnet_b0", decoder="up_down"), design)
    assert (other.encoder.size, dict(other.settings)) == ((160, 160), {})


def test_another_encoder_has_a_width_of_its_own() -> None:
    narrow = design_after(Architecture(encoder_width=0.5), ATTENDING)
    assert narrow.encoder.width == 0.5
    assert design_after(Architecture(image_size=96), narrow).encoder.width == 0.5
    assert design_after(Architecture(encoder="resnet50"), narrow).encoder.width == 1.0


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"image_size": 96}, True),
        ({"encoder": "mobilenet_v2"}, True),
        ({"encoder_width": 0.5}, False),
        ({"encoder": "mobilenet_v3_small"}, False),
        ({"encoder_weights": "imagenet"}, False),
    ],
)
def test_the_encoders_weights_stay_where_name_and_width_do(settings: dict[str, Any], taken: bool) -> None:
    assert takes_encoder_weights(Architecture(**settings), ATTENDING) is taken


def test_sizes_follow_the_steps() -> None:
    design = design_after(CutVocabulary(words=50), design_after(FactorizeEmbedding(rank=8), ATTENDING))
    config = design.decoder_config(feature_channels=1280)
    assert (config.vocabulary_size, config.embedding_units, config.feature_channels) == (54, 8, 1280)
    assert design_after(TieEmbedding(), MERGING).is_tied
    assert design_after(Hard(part="decoder", sparsity=0.5), ATTENDING) is ATTENDING


@pytest.mark.parametrize(
    ("step", "design", "message"),
    [
        (Architecture(encoder="vgg99"), ATTENDING, "unknown encoder 'vgg99'"),
        (Architecture(encoder="resnet50", encoder_width=0.5), ATTENDING, "comes in width 1 only"),
        (Architecture(encoder_features="global"), ATTENDING, "soft_attention attends to a grid"),
        (Architecture(decoder="rnn"), ATTENDING, "unknown decoder 'rnn'"),
        (Architecture(decoder="up_down", decoder_settings={"cell": "gru"}), ATTENDING, "decoder up_down: .*cell"),
        (Architecture(decoder_settings={"heads": 7}), ATTENDING, "multiple of heads"),
        (Architecture(decoder_settings={"vocabulary_size": 9}), ATTENDING, "vocabulary_size follows from"),
        (Architecture(encoder_weights="no.h5"), ATTENDING, "no.h5: no such file"),
        (Architecture(image_size=160), VGG16, "tied to the image size of their weights"),
        (FactorizeEmbedding(rank=32), ATTENDING, r"rank \(32\) must lie below the decoder's embedding_units \(32\)"),
        (FactorizeEmbedding(rank=48), design_after(TieEmbedding(), MERGING), "rank 48 is the decoder's units"),
        (TieEmbedding(), ATTENDING, "soft_attention has its output tied to the embedding already"),
        (TieEmbedding(), design_after(TieEmbedding(), MERGING), "tied to the embedding already"),
        (CutVocabulary(words=100), ATTENDING, r"tokens \(104\) must lie below the decoder's vocabulary_size \(104\)"),
    ],
)
def test_impossible_steps_are_refused(step: Step, design: Design, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        design_after(step, design)


def test_a_bundle_is_checked_by_its_manifest(bundled: Path) -> None:
    manifest = open_bundle(bundled / "captioner").manifest
    check(CutVocabulary(words=10), manifest)
    with pytest.raises(UsageError, match="must lie below the decoder's vocabulary_size"):
        check(CutVocabulary(words=100_000), manifest)

from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import Manifest, open_bundle
from caption_core.errors import UsageError
from caption_core.models.architectures import ENCODERS, EncoderConfig
from compression.fitting import check_fit
from compression.order import StepError
from compression.settings.quantization import ROUNDABLE_ENCODERS
from compression.settings.registry import STEPS
from compression.settings.training import Training

FEATURES = {"objective": "features", "encoder_from": "pixels"}
WORDS = {"encoder_from": "pixels"}
ENCODER_AWARE = ("quantization_aware", {"part": "encoder", "training": FEATURES})
BLOCKS = {"part": "encoder", "sparsity": 0.5, "pattern": "block", "training": FEATURES}

Entry = tuple[str, dict[str, Any]]


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


def check(manifest: Manifest, *entries: Entry) -> None:
    steps = [STEPS[kind].model_validate(settings) for kind, settings in entries]
    check_fit(steps, manifest, has_images=True, has_captions=True)


def with_encoder(manifest: Manifest, name: str) -> Manifest:
    return manifest.model_copy(update={"architecture": manifest.architecture.model_copy(update={"encoder": name})})


@pytest.mark.parametrize("kind", ["magnitude", "supermask", "snip", "lottery_ticket"])
def test_a_part_is_pruned_in_training_only_if_it_trains(manifest: Manifest, kind: str) -> None:
    encoder, decoder = {"part": "encoder", "sparsity": 0.5}, {"part": "decoder", "sparsity": 0.5}
    with pytest.raises(StepError, match=rf"{kind}: .*none of the encoder's does: say training\.encoder_from.* hard"):
        check(manifest, (kind, encoder))
    with pytest.raises(StepError, match=f"{kind}: .*none of the decoder's does: objective features.* hard"):
        check(manifest, (kind, {**decoder, "training": FEATURES}))
    for training in (FEATURES, WORDS):
        check(manifest, (kind, {**encoder, "training": training}))
    check(manifest, (kind, decoder))


def test_a_decoder_is_trained_for_int8_only_if_it_trains(manifest: Manifest) -> None:
    with pytest.raises(StepError, match="none of the decoder's does: objective features trains the encoder only"):
        check(manifest, ("quantization_aware", {"part": "decoder", "training": FEATURES}))


@pytest.mark.parametrize("entry", [("cluster", {"part": "encoder"}), ("hard", {"part": "encoder", "sparsity": 0.5})])
def test_what_changes_weights_at_once_takes_an_encoder_that_does_not_train(manifest: Manifest, entry: Entry) -> None:
    check(manifest, entry)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_only_encoders_that_can_round_are_trained_for_int8(manifest: Manifest, name: str) -> None:
    if name in ROUNDABLE_ENCODERS:
        check(with_encoder(manifest, name), ENCODER_AWARE)
        return
    with pytest.raises(StepError, match=f"int8's rounding can't be trained in {name}, only in mobilenet_v2"):
        check(with_encoder(manifest, name), ENCODER_AWARE)


def test_the_encoder_that_is_trained_for_int8_is_the_one_that_earlier_steps_leave(manifest: Manifest) -> None:
    exchanged = ("architecture", {"encoder": "efficientnet_b0", "encoder_weights": "imagenet", "training": WORDS})
    with pytest.raises(StepError, match="can't be trained in efficientnet_b0") as caught:
        check(manifest, exchanged, ENCODER_AWARE)
    assert caught.value.index == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(ENCODERS) - set(ROUNDABLE_ENCODERS)))
def test_what_is_refused_could_not_be_rounded(name: str) -> None:
    from caption_core.models.encoders import build_encoder
    from compression.encoder_quantization import quantized_copy

    with pytest.raises(UsageError, match="can't round"):
        quantized_copy(build_encoder(EncoderConfig(name, image_size=(64, 64))))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_every_encoder_has_a_convolution_that_blocks_do_not_fit(name: str) -> None:
    import tf_keras

    from caption_core.models.encoders import build_encoder

    layers = build_encoder(EncoderConfig(name, image_size=(64, 64))).layers
    assert any(type(layer) is tf_keras.layers.Conv2D and max(layer.kernel_size) > 1 for layer in layers)


def test_blocks_of_an_encoder_need_a_choice_of_layers(manifest: Manifest) -> None:
    with pytest.raises(StepError, match="choose some of them by layers"):
        check(manifest, ("magnitude", BLOCKS))
    check(manifest, ("magnitude", {**BLOCKS, "layers": ["expand"]}))
    check(manifest, ("magnitude", {"part": "decoder", "sparsity": 0.5, "pattern": "block"}))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "resnet50"},
        {"encoder_width": 0.5},
        {"encoder": "vgg16", "encoder_features": "global", "image_size": 224, "decoder": "merge"},
    ],
)
def test_a_random_encoder_has_to_train(manifest: Manifest, settings: dict[str, Any]) -> None:
    exchanged: Entry = ("architecture", settings)
    tuned: Entry = ("fine_tune", {})
    with pytest.raises(StepError, match="the encoder's weights are random, and nothing trains all of them") as caught:
        check(manifest, tuned, exchanged, tuned)
    assert caught.value.index == 1
    for training in (WORDS, FEATURES):
        check(manifest, exchanged, tuned, ("fine_tune", {"training": training}))
        check(manifest, ("architecture", {**settings, "training": training}), tuned)


def test_a_random_encoder_has_to_train_as_a_whole(manifest: Manifest) -> None:
    upper = {"training": {"encoder_from": "conv5_block3"}}
    with pytest.raises(StepError, match="nothing trains all of them"):
        check(manifest, ("architecture", {"encoder": "resnet50", **upper}), ("fine_tune", upper))


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": "resnet50", "encoder_weights": "imagenet"},
        {"encoder": "mobilenet_v2", "image_size": 96},
        {"encoder_features": "global", "decoder": "merge"},
        {"decoder_settings": {"units": 8}},
    ],
)
def test_an_encoder_of_trained_weights_may_stay_frozen(manifest: Manifest, settings: dict[str, Any]) -> None:
    check(manifest, ("architecture", settings), ("fine_tune", {}))


def test_a_head_that_the_present_encoder_lacks_is_random(manifest: Manifest) -> None:
    gets_head = ("architecture", {"encoder_features": "global", "image_size": 224, "decoder": "merge"})
    with pytest.raises(StepError, match="the encoder's weights are random"):
        check(with_encoder(manifest, "vgg16"), gets_head, ("fine_tune", {}))


@pytest.mark.parametrize(
    "settings",
    [{}, WORDS, {"encoder_from": "block_16"}, FEATURES, {"objective": "self_critical"}],
)
def test_a_training_moves_the_parts_that_it_says(tiny_bundle: Path, settings: dict[str, Any]) -> None:
    from compression.fine_tuning import by_training
    from compression.places import places_of
    from tests.compression.builders import loaded

    model, training = loaded(open_bundle(tiny_bundle)), Training(**settings)
    places = [*places_of(model, "encoder"), *places_of(model, "decoder")]
    trained, _ = by_training(model, places, training)
    assert {place.name.split("/")[0] for place in trained} == set(training.moves)

"""Layers that recipes name are looked up before any work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import Manifest, open_bundle
from caption_core.errors import UsageError
from compression.named_layers import as_request, check_layers, first_objection
from compression.order import StepError
from compression.recipe import read_recipe
from compression.settings.registry import STEPS

ROOT = Path(__file__).resolve().parents[2]
UPPER = {"objective": "features", "encoder_from": "block_16"}
ENCODER_AWARE = ("quantization_aware", {"part": "encoder", "training": UPPER})
NOT_THERE = "no weight matrix of the decoder has 'nowhere' in its name"


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


def check(manifest: Manifest, *entries: tuple[str, dict[str, Any]]) -> None:
    steps = [STEPS[kind].model_validate(settings) for kind, settings in entries]
    if objection := first_objection([as_request(steps, manifest)]):
        _, index, reason = objection
        raise StepError(index, reason)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("cluster", {"part": "decoder"}),
        ("hard", {"part": "decoder", "sparsity": 0.5}),
        ("magnitude", {"part": "decoder", "sparsity": 0.5}),
        ("supermask", {"sparsity": 0.5}),
        ("snip", {"sparsity": 0.5}),
        ("lottery_ticket", {"sparsity": 0.5}),
    ],
)
def test_each_step_finds_its_layers_or_says_which_are_missing(
    manifest: Manifest, kind: str, settings: dict[str, Any]
) -> None:
    check(manifest, (kind, {**settings, "layers": ["gates_from_h"]}))
    with pytest.raises(StepError, match=f"{kind}: layers: {NOT_THERE}") as caught:
        check(manifest, ("fine_tune", {}), (kind, {**settings, "layers": ["gates_from_h", "nowhere"]}))
    assert caught.value.index == 1
    with pytest.raises(StepError, match=f"{kind}: layers: no weight matrix of the decoder is chosen"):
        check(manifest, (kind, {**settings, "layers": []}))


def test_layers_that_stay_in_float_have_to_be_there(manifest: Manifest) -> None:
    check(manifest, ("quantize", {"decoder": "dynamic", "keep_float": ["decoder/embedding"]}))
    with pytest.raises(StepError, match="quantize: keep_float: no weight matrix has 'nowhere' in its name"):
        check(manifest, ("quantize", {"decoder": "dynamic", "keep_float": ["nowhere"]}))


@pytest.mark.parametrize(
    ("settings", "is_possible"),
    [
        ({"encoder": "int16x8", "decoder": "int16x8", "keep_float": ["Conv_1/"]}, False),
        ({"encoder": "int16x8", "decoder": "dynamic", "keep_float": ["encoder/Conv_1"]}, False),
        ({"encoder": "int8", "decoder": "int16x8", "keep_float": ["decoder/embedding"]}, False),
        ({"encoder": "int16x8", "decoder": "dynamic", "keep_float": ["decoder/embedding"]}, True),
        ({"encoder": "int16x8", "decoder": "dynamic", "keep_float": ["block_16_project"]}, False),
        ({"encoder": "int16x8", "decoder": "int16x8"}, True),
        ({"encoder": "float16", "keep_float": ["encoder/Conv_1"]}, False),
        ({"encoder": "int8", "decoder": "float16", "keep_float": ["decoder/embedding"]}, False),
        ({"encoder": "float16", "decoder": "int8", "keep_float": ["kernel"]}, False),
        ({"encoder": "float16", "decoder": "dynamic", "keep_float": ["decoder/embedding"]}, True),
        ({"encoder": "float16", "decoder": "float16"}, True),
    ],
)
def test_nothing_stays_in_float_beside_float16_and_int16(
    manifest: Manifest, settings: dict[str, Any], is_possible: bool
) -> None:
    if is_possible:
        check(manifest, ("quantize", settings))
        return
    with pytest.raises(StepError, match=r"can't keep layers in float in format (float16|int16x8), which the"):
        check(manifest, ("quantize", settings))


@pytest.mark.slow
def test_what_is_in_float_as_a_whole_needs_not_be_kept_there(manifest: Manifest) -> None:
    for settings in ({"decoder": "dynamic"}, {"encoder": "float32", "decoder": "int8"}):
        with pytest.raises(StepError, match="keep_float: 'Conv_1/' are layers of the encoder, all of it in float32"):
            check(manifest, ("quantize", {**settings, "keep_float": ["decoder/embedding", "Conv_1/"]}))
        check(manifest, ("quantize", {**settings, "keep_float": ["kernel"]}))


@pytest.mark.slow
def test_a_layer_that_can_not_stay_in_float_is_named_with_its_line(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    text = "name: x\nsteps:\n  - quantize: {encoder: int8}\n  - quantize: {decoder: float16, keep_float: [gates]}\n"
    path.write_text(text, encoding="utf-8")
    chain = read_recipe(str(path)).chain.ordered()
    with pytest.raises(UsageError, match=r"r\.yaml, line 4: quantize: keep_float: .* in format float16"):
        check_layers([(chain, manifest)])


@pytest.mark.slow
def test_an_encoder_that_was_trained_for_int8_keeps_no_layer_in_float(manifest: Manifest) -> None:
    formats = {"encoder": "int8", "decoder": "dynamic"}
    with pytest.raises(StepError, match="is converted as it was trained"):
        check(manifest, ENCODER_AWARE, ("quantize", {**formats, "keep_float": ["Conv_1/"]}))
    check(manifest, ENCODER_AWARE, ("quantize", {**formats, "keep_float": ["gates_from_h"]}))
    check(manifest, ("quantize", {**formats, "keep_float": ["encoder/Conv_1"]}))


@pytest.mark.slow
def test_layers_that_a_step_adds_are_there_for_those_behind_it(manifest: Manifest) -> None:
    chosen = ("hard", {"part": "encoder", "sparsity": 0.5, "layers": ["block7a"]})
    exchanged = ("architecture", {"encoder": "efficientnet_b0", "encoder_weights": "imagenet"})
    check(manifest, exchanged, chosen)
    with pytest.raises(StepError, match="no weight matrix of the encoder has 'block7a'"):
        check(manifest, chosen, exchanged)


@pytest.mark.slow
def test_chosen_layers_have_to_train_and_to_fit_the_pattern(manifest: Manifest) -> None:
    blocks = {"part": "encoder", "sparsity": 0.5, "pattern": "block", "training": UPPER}
    check(manifest, ("magnitude", {**blocks, "layers": ["block_16_project"]}))
    with pytest.raises(StepError, match="magnitude: encoder/Conv1/kernel: blocks need a matrix"):
        check(manifest, ("magnitude", {**blocks, "layers": ["Conv1/", "block_16_project"]}))
    with pytest.raises(StepError, match="prunes while weights train, and none of the encoder's does"):
        check(manifest, ("magnitude", {**blocks, "layers": ["block_1_expand"]}))
    with pytest.raises(StepError, match=r"magnitude: decoder/.*: blocks of 1x4000 are too large for a matrix of"):
        check(manifest, ("magnitude", {"part": "decoder", "sparsity": 0.5, "pattern": "block", "block": [1, 4000]}))


SMALLER = {"image_size": 64, "training": {"objective": "features", "encoder_from": "pixels"}}
OTHER = {"encoder": "mobilenet_v3_small", "encoder_weights": "imagenet"}
WORDS = {"training": {"epochs": 1}}


@pytest.mark.slow
def test_features_need_a_teacher_of_as_many_channels_and_no_smaller_grid(manifest: Manifest) -> None:
    check(manifest, ("architecture", SMALLER), ("fine_tune", {"training": UPPER}))
    with pytest.raises(StepError, match=r"the encoder gives 64 x 1280 features, what teaches it 49 x 1280$"):
        check(manifest, ("architecture", {**SMALLER, "image_size": 256}))
    with pytest.raises(StepError, match=r"the encoder gives 49 x 576 features, what teaches it 49 x 1280$") as caught:
        check(manifest, ("fine_tune", WORDS), ("architecture", {**OTHER, "training": SMALLER["training"]}))
    assert caught.value.index == 1


def test_the_decoder_decides_whose_features_can_be_learnt(manifest: Manifest) -> None:
    last = {"training": {"objective": "features", "encoder_from": "Conv_1"}}
    pruned = ("magnitude", {"part": "encoder", "sparsity": 0.5, **last})
    exchanged = ("architecture", OTHER)
    check(manifest, exchanged, ("fine_tune", WORDS), pruned, ("fine_tune", last))
    check(manifest, exchanged, pruned)  # its own from before
    with pytest.raises(StepError, match=r"fine_tune: .* gives 49 x 576 features, what teaches it 49 x 1280$"):
        check(manifest, exchanged, ("fine_tune", last))


def test_a_captioner_too_large_for_this_machine_is_left_to_its_steps(manifest: Manifest) -> None:
    huge = ("architecture", {"decoder_settings": {"units": 10**10}, "training": {}})
    pruned = ("hard", {"part": "decoder", "sparsity": 0.5, "layers": ["nowhere"]})
    check(manifest, huge, pruned)
    with pytest.raises(StepError, match=f"hard: layers: {NOT_THERE}"):
        check(manifest, pruned)


@pytest.mark.slow
def test_a_recipe_names_the_line_of_a_layer_that_is_not_there(manifest: Manifest, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(
        "name: x\nsteps:\n  - hard: {part: decoder, sparsity: 0.5}\n  - cluster: {part: decoder, layers: [nowhere]}\n"
    )
    with pytest.raises(UsageError, match=rf"r\.yaml, line 4: cluster: layers: {NOT_THERE}"):
        check_layers([(read_recipe(str(path)).chain, manifest)])


@pytest.mark.slow
def test_a_layer_that_is_not_there_costs_one_line(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("name: x\nsteps:\n  - cluster: {part: decoder, layers: [nowhere], training: null}\n")
    options = ["--model", tiny_bundle, "--recipe", path, "--output", tmp_path / "out", "--no-time"]
    command = [sys.executable, "jobs/train_compress.py", "compress", *map(str, options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, f"error: r.yaml, line 3: cluster: layers: {NOT_THERE}\n")
    assert not (tmp_path / "out").exists()

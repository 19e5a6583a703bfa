from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.bundle import Manifest, open_bundle
from caption_core.errors import UsageError
from compression.recipe import RECIPES, Recipe, read_recipe, read_steps
from compression.settings.pruning import Supermask
from compression.yaml_lines import YamlDocument


def recipe(folder: Path, text: str) -> Recipe:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(str(path))


def test_a_recipe_names_its_steps_seed_and_settings(tmp_path: Path) -> None:
    text = "name: sparse\nseed: 7\nsteps:\n  - supermask: {sparsity: 0.9, training: {epochs: 2}}\n  - store\n"
    found = recipe(tmp_path, text)
    assert (found.name, found.seed) == ("sparse", 7)
    first, second = found.chain.steps
    assert isinstance(first, Supermask)
    assert first.sparsity == 0.9
    assert first.training.epochs == 2
    assert second.kind == "store"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_that_comes_along_is_sensible(path: Path) -> None:
    found = read_recipe(path.stem)
    assert found.name == path.stem
    assert found.chain.ordered().steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []\n", "line 1: field 'name' is missing"),
        ("name: x\nstep: []\n", "line 2: unknown field 'step'"),
        ("name: Big Name\nsteps: []\n", "line 1: name must be of"),
        ("name: x\nseed: -1\nsteps: []\n", "line 2: a seed is a whole number"),
        ("name: x\nsteps: hard\n", "line 2: a list of steps"),
        ("name: x\nsteps:\n  - pruning: {}\n", "line 3: unknown step 'pruning'; there are"),
        ("name: x\nsteps:\n  - {hard: {}, store: {}}\n", "line 3: a step is a name, or one name"),
        (
            "name: x\nsteps:\n  - supermask:\n      sparsity: 1.5\n",
            r"line 4: supermask\.sparsity: Input should be less than 1",
        ),
        ("name: x\nsteps:\n  - supermask: {sparsity: 0.9, epoch: 3}\n", r"line 3: supermask\.epoch: Extra inputs"),
        ("name: x\nsteps:\n  - hard: {part: decoder}\n", r"line 3: hard\.sparsity: Field required"),
        ("name: x\nsteps:\n  - quantize\n", "line 3: quantize: quantize needs a format"),
        ("- a\n", "line 1: a mapping with name, steps is needed"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"r\.yaml, {message}"):
        recipe(tmp_path, text)


def test_an_unknown_name_lists_what_comes_along() -> None:
    with pytest.raises(UsageError, match=r"recipe nothing: no such file, and none of those that come along: .*int8"):
        read_recipe("nothing")


def test_an_order_that_makes_no_sense_is_named_with_its_line(tmp_path: Path) -> None:
    text = "name: x\nsteps:\n  - quantize: {decoder: dynamic}\n  - hard: {part: decoder, sparsity: 0.5}\n"
    with pytest.raises(UsageError, match=r"r\.yaml, line 4: hard after quantize"):
        recipe(tmp_path, text).chain.ordered()


def test_the_steps_as_yaml_are_the_recipe_again(tmp_path: Path) -> None:
    chain = recipe(tmp_path, "name: x\nsteps:\n  - supermask: {sparsity: 0.9}\n  - quantize: {decoder: int8}\n").chain
    again = read_steps(YamlDocument(chain.as_yaml(), "again"), ())
    assert again.steps == chain.steps


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8), lambda v: st.lists(v) | st.dictionaries(st.text(max_size=8), v)
    )
)
def test_any_document_is_steps_or_a_usage_error(value: Any) -> None:
    import yaml

    document = YamlDocument(yaml.safe_dump({"steps": value}), "r.yaml")
    try:
        chain = read_steps(document, ("steps",))
    except UsageError:
        return
    assert len(chain.steps) == len(value)


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return open_bundle(tiny_bundle).manifest


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("quantize: {encoder: int8}", "calibration needs training images"),
        ("quantization_aware: {part: decoder}", "ranges are measured on training images"),
        ("supermask: {sparsity: 0.9}", "it trains: give --images"),
    ],
)
def test_missing_data_are_named_before_any_work(tmp_path: Path, manifest: Manifest, step: str, message: str) -> None:
    chain = recipe(tmp_path, f"name: x\nsteps:\n  - {step}\n").chain
    with pytest.raises(UsageError, match=rf"line 3: .*{message}"):
        chain.check(manifest, has_images=False, has_captions=False)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("tie_embedding", "tied to the embedding already"),
        ("factorize_embedding: {rank: 4000}", "must lie below the decoder's embedding_units"),
        ("cut_vocabulary: {words: 4000}", "must lie below the decoder's vocabulary_size"),
        ("fine_tune: {training: {encoder_from: block_99}}", "no block 'block_99'"),
        ("architecture: {encoder: vgg99}", "unknown encoder 'vgg99'"),
        ("architecture: {decoder: gpt}", "unknown decoder 'gpt'"),
        ("architecture: {decoder_settings: {unit: 3}}", "unit"),
        ("quantization_aware: {part: encoder}", "say training.encoder_from"),
    ],
)
def test_a_step_that_the_captioner_can_not_take_is_refused(
    tmp_path: Path, manifest: Manifest, step: str, message: str
) -> None:
    chain = recipe(tmp_path, f"name: x\nsteps:\n  - {step}\n").chain
    with pytest.raises(UsageError, match=rf"line 3: .*{message}"):
        chain.check(manifest, has_images=True, has_captions=True)


def test_a_later_step_is_held_against_the_captioner_that_the_earlier_ones_leave(
    tmp_path: Path, manifest: Manifest
) -> None:
    text = "name: x\nsteps:\n  - factorize_embedding: {rank: 8}\n  - factorize_embedding: {rank: 12}\n"
    with pytest.raises(UsageError, match=r"line 4: .*embedding_units \(8\)"):
        recipe(tmp_path, text).chain.check(manifest, has_images=True, has_captions=True)


def test_a_compressed_bundle_is_no_parent(tmp_path: Path, tiny_int8_bundle: Path) -> None:
    chain = recipe(tmp_path, "name: x\nsteps:\n  - store\n").chain
    with pytest.raises(UsageError, match="compressed already"):
        chain.check(open_bundle(tiny_int8_bundle).manifest, has_images=True, has_captions=True)

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from caption_core.bundle import Manifest, open_bundle
from caption_core.errors import UsageError
from compression.recipe import RECIPES, Chain, Recipe, read_recipe, read_steps
from compression.settings.fields import PARTS
from compression.settings.pruning import Supermask
from compression.settings.registry import STEPS
from compression.settings.step import Step
from compression.settings.training import Training
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
        (
            "name: x\nsteps:\n  - supermask:\n      sparsity: 0.5\n      part: encoder\n"
            "      fine_tuning: {objective: features, encoder_from: pixels}\n",
            "line 3: supermask: training and fine_tuning both learn features, or neither does",
        ),
        ("name: x\nsteps:\n  - hard: {part: decoder}\n", r"line 3: hard\.sparsity: Field required"),
        ("name: x\nsteps:\n  - quantize\n", "line 3: quantize: quantize needs a format"),
        ("- a\n", "line 1: a mapping with name, steps is needed"),
        (
            "name: x\nsteps:\n  - magnitude: {part: decoder, sparsity: 0.5, block: [1, 4]}\n",
            "line 3: magnitude: block is for pattern block, and the pattern is unstructured",
        ),
        (
            "name: x\nsteps:\n  - magnitude: {part: decoder, sparsity: 0.5, pattern: block, m_by_n: [1, 4]}\n",
            "line 3: magnitude: m_by_n is for pattern m_by_n, and the pattern is block",
        ),
        (
            "name: x\nsteps:\n  - magnitude:\n"
            "      {part: decoder, sparsity: 0.5, schedule: constant, initial_sparsity: 0.2}\n",
            "line 3: magnitude: initial_sparsity is for schedule polynomial, and the schedule is constant",
        ),
        ("name: x\nsteps: &a [*a]\n", "line 2: alias 'a' stands in what it is an alias of"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"r\.yaml, {message}"):
        recipe(tmp_path, text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{training: {soft_targets: 0}}", "level word learns from the teacher's distribution: soft_targets can't be 0"),
        ("{level: sequence, training: {captions: references}}", "level sequence learns from the teacher's captions"),
        ("{level: both, training: {soft_targets: 0}}", "level both learns from the teacher's distribution"),
        ("{level: both, training: {captions: references}}", "level both learns from the teacher's captions"),
        (
            "{training: {soft_targets: 0, objective: self_critical}}",
            "level word learns from the teacher's distribution",
        ),
    ],
)
def test_a_distillation_that_learns_nothing_of_its_level_is_refused(
    tmp_path: Path, settings: str, message: str
) -> None:
    with pytest.raises(UsageError, match=rf"r\.yaml, line 3: distill: {message}"):
        recipe(tmp_path, f"name: x\nsteps:\n  - distill: {settings}\n")


NEEDED = {"part": "decoder", "sparsity": 0.5, "rank": 2, "words": 5}


def _float_settings() -> list[tuple[str, str]]:
    """Every number of every step that may have a fraction, and of its trainings."""
    floats: list[tuple[str, str]] = []
    for kind, step in STEPS.items():
        for name, about in step.model_fields.items():
            if _is_number(about.annotation):
                floats.append((kind, name))
            elif "Training" in str(about.annotation):
                fields = Training.model_fields.items()
                floats += [(kind, f"{name}.{inner}") for inner, field in fields if _is_number(field.annotation)]
    return floats


def _is_number(annotation: Any) -> bool:
    return "float" in re.findall(r"\w+", str(annotation))


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf"])
@pytest.mark.parametrize(("kind", "name"), _float_settings())
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, kind: str, name: str, value: str) -> None:
    outer, _, inner = name.partition(".")
    said = f"{outer}: {{{inner}: {value}}}" if inner else f"{outer}: {value}"
    required = [field for field, about in STEPS[kind].model_fields.items() if about.is_required() and field != outer]
    settings = [said, *(f"{field}: {NEEDED[field]}" for field in required)]
    with pytest.raises(UsageError, match=rf"r\.yaml, line 4: {kind}\.{name}: Input should be a finite number"):
        recipe(tmp_path, f"name: x\nsteps:\n  - {kind}:\n      " + "\n      ".join(settings))


def test_all_numbers_of_steps_are_looked_at() -> None:
    assert {("supermask", "initial_gate"), ("architecture", "encoder_width"), ("distill", "training.temperature")} <= {
        *_float_settings()
    }


def test_an_unknown_name_lists_what_comes_along() -> None:
    with pytest.raises(UsageError, match=r"recipe nothing: no such file, and none of those that come along: .*int8"):
        read_recipe("nothing")


def test_a_folder_of_a_recipes_name_does_not_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("int8").mkdir()  # the output of an earlier run, say
    assert read_recipe("int8").name == "int8"


def test_an_order_that_makes_no_sense_is_named_with_its_line(tmp_path: Path) -> None:
    text = "name: x\nsteps:\n  - quantize: {decoder: dynamic}\n  - hard: {part: decoder, sparsity: 0.5}\n"
    with pytest.raises(UsageError, match=r"r\.yaml, line 4: hard after quantize"):
        recipe(tmp_path, text).chain.ordered()


def test_the_steps_as_yaml_are_the_recipe_again(tmp_path: Path) -> None:
    chain = recipe(tmp_path, "name: x\nsteps:\n  - supermask: {sparsity: 0.9}\n  - quantize: {decoder: int8}\n").chain
    again = read_steps(YamlDocument(chain.as_yaml(), "again"), ())
    assert again.steps == chain.steps


TRAININGS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 5),
        "learning_rate": st.sampled_from([1e-5, 1e-4, 3e-4, 0.01]),
        "objective": st.sampled_from(["references", "self_critical", "features"]),
        "captions": st.sampled_from(["references", "teacher", "both"]),
        "soft_targets": st.sampled_from([0.0, 0.7, 0.9]),
        "encoder_from": st.none() | st.sampled_from(["pixels", "block_6"]),
        "images": st.none() | st.integers(1, 9),
    },
)
SPARSITIES = st.sampled_from([0.25, 0.5, 0.95])
LAYERS = st.none() | st.lists(st.text(max_size=4)).map(tuple)
FORMATS = st.none() | st.sampled_from(["float32", "int8", "int16x8"])
SIDES = st.tuples(st.integers(1, 4), st.integers(1, 4))


SETTINGS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "architecture": {"image_size": st.just(96), "decoder_settings": st.just({"units": 3, "heads": 1})},
    "fine_tune": {},
    "distill": {"level": st.sampled_from(["word", "sequence", "both"])},
    "hard": {"sparsity": SPARSITIES, "layers": LAYERS},
    "magnitude": {
        "sparsity": SPARSITIES,
        "pattern": st.sampled_from(["unstructured", "block", "m_by_n"]),
        "block": SIDES,
        "m_by_n": SIDES,
    },
    "supermask": {"sparsity": SPARSITIES, "fine_tuning": st.none() | TRAININGS},
    "cluster": {"clusters": st.integers(2, 32), "layers": LAYERS},
    "quantization_aware": {},
    "quantize": {"encoder": FORMATS, "decoder": FORMATS, "calibration_images": st.integers(199, 201)},
    "search": {"beam_width": st.none() | st.integers(1, 3)},
    "store": {"codec": st.sampled_from(["zstd", "xz"])},
}
SHARED: dict[str, st.SearchStrategy[Any]] = {"part": st.sampled_from(PARTS), "training": st.none() | TRAININGS}


@st.composite
def any_step(draw: st.DrawFn) -> Step:
    """A step that is read from settings, or made of settings that are objects already."""
    kind = draw(st.sampled_from(sorted(SETTINGS)))
    shared = {name: values for name, values in SHARED.items() if name in STEPS[kind].model_fields}
    fields: dict[str, Any] = draw(st.fixed_dictionaries({}, optional={**SETTINGS[kind], **shared}))
    try:
        if "training" in fields and draw(st.booleans()):
            fields["training"] = Training.model_validate(fields["training"])
        return STEPS[kind].model_validate(fields)
    except ValidationError:
        reject()


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.lists(any_step(), min_size=1, max_size=3))
def test_any_steps_as_yaml_are_read_as_the_same_steps(steps: list[Step]) -> None:
    chain = Chain(tuple(steps), (), YamlDocument("", "none"))
    assert read_steps(YamlDocument(chain.as_yaml(), "again"), ()).steps == chain.steps


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("hard: {part: decoder, sparsity: 0.5, method: blind}", {"hard": {"part": "decoder", "sparsity": 0.5}}),
        (
            "quantization_aware: {part: decoder, training: {epochs: 4, learning_rate: 0.0003}}",
            {"quantization_aware": {"part": "decoder", "training": {"epochs": 4, "learning_rate": 0.0003}}},
        ),
        (
            "quantization_aware: {part: decoder, training: {epochs: 1, images: 3}}",
            {"quantization_aware": {"part": "decoder", "training": {"images": 3}}},
        ),
        ("distill: {level: word, training: {soft_targets: 0.7}}", {"distill": {}}),
        ("cluster: {part: decoder, training: null}", {"cluster": {"part": "decoder", "training": None}}),
    ],
)
def test_steps_as_yaml_leave_out_what_reading_fills_in(tmp_path: Path, step: str, said: dict[str, Any]) -> None:
    import yaml

    assert yaml.safe_load(recipe(tmp_path, f"name: x\nsteps:\n  - {step}\n").chain.as_yaml()) == [said]


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
        ("architecture: {encoder_weights: gone.h5}", r"encoder weights gone\.h5: no such file"),
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

from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from compression.settings.architecture import Architecture
from compression.study import Study, read_study
from compression.variants import digest_of, nodes_of, union

GRID = """name: pairs
models: [one, two]
axes:
  encoder:
    as is: []
    int8: [{quantize: {encoder: int8}}]
  decoder:
    as is: []
    sparse: [{hard: {part: decoder, sparsity: 0.5}}]
    small: [{hard: {part: decoder, sparsity: 0.5}}, {quantize: {decoder: dynamic}}]
variants:
  best: [{quantize: {encoder: float16, decoder: float16}}]
finish: [{store: {codec: zstd}}]
"""


def study(folder: Path, text: str) -> Study:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return read_study(str(path))


def test_a_grid_has_every_cell_of_every_model_and_the_models_themselves(tmp_path: Path) -> None:
    found = study(tmp_path, GRID)
    names = [variant.name for variant in found.variants]
    assert names[:2] == ["one as is", "two as is"]
    assert len(names) == len(set(names)) == 2 + 2 * (2 * 3 + 1)
    assert "two+encoder=int8+decoder=small" in names
    assert "one+best" in names


def test_a_cell_is_its_choices_steps_in_order_with_one_conversion(tmp_path: Path) -> None:
    variants = {variant.name: variant for variant in study(tmp_path, GRID).variants}
    chain = variants["one+encoder=int8+decoder=small"].chain
    assert [step.kind for step in chain.steps] == ["hard", "quantize", "store"]
    assert variants["one+encoder=int8+decoder=small"].axes == {"encoder": "int8", "decoder": "small"}


def test_a_part_of_a_study_has_its_models_their_baselines_and_the_order_of_all(tmp_path: Path) -> None:
    whole = study(tmp_path, GRID)
    part = whole.only(["two+*decoder=sparse", "two+best"])
    assert part.models == ("two",)
    assert [variant.name for variant in part.variants] == [
        "two as is",
        "two+encoder=as is+decoder=sparse",
        "two+encoder=int8+decoder=sparse",
        "two+best",
    ]
    assert part.all_variants == whole.all_variants == whole.variants
    assert whole.only(["*"]) == whole


def test_a_name_may_look_like_a_pattern(tmp_path: Path) -> None:
    found = study(tmp_path, "name: s\nvariants:\n  a [b]: [{hard: {part: decoder, sparsity: 0.5}}]\n  c: []\n")
    assert [variant.name for variant in found.only(["a [b]"]).variants] == ["model as is", "a [b]"]


def test_a_variant_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pairs has no variant 'three\+\*'; it has: one as is, two as is, one\+"):
        study(tmp_path, GRID).only(["one+*", "three+*"])


def test_seeds_multiply_the_variants(tmp_path: Path) -> None:
    found = study(tmp_path, "name: s\nseeds: [1, 2]\nvariants:\n  a: [{hard: {part: decoder, sparsity: 0.5}}]\n")
    assert [variant.name for variant in found.variants] == ["model as is", "a+seed=1", "a+seed=2"]
    assert [variant.seed for variant in found.variants[1:]] == [1, 2]


def test_variants_share_the_steps_that_they_have_in_common(tmp_path: Path, tiny_bundle: Path) -> None:
    text = """name: s
variants:
  a: [{hard: {part: decoder, sparsity: 0.5}}, {quantize: {decoder: dynamic}}]
  b: [{hard: {part: decoder, sparsity: 0.5}}, {quantize: {decoder: float16}}]
"""
    model = open_bundle(tiny_bundle)
    chains = [nodes_of(variant, model, "data") for variant in study(tmp_path, text).variants]
    nodes = union(chains)
    assert [node.step.kind for node in nodes] == ["hard", "quantize", "quantize"]
    assert nodes[1].parent == nodes[2].parent == nodes[0].key


def test_a_step_knows_in_which_captioner_the_decoder_last_trained(tmp_path: Path, tiny_bundle: Path) -> None:
    text = """name: s
variants:
  a:
    - architecture: {image_size: 64, training: {objective: features, encoder_from: pixels}}
    - fine_tune: {training: {encoder_from: block_6}}
    - quantization_aware: {part: encoder, training: {objective: features, encoder_from: block_6}}
    - quantize: {encoder: int8}
"""
    smaller, tuned, aware, last = nodes_of(study(tmp_path, text).variants[1], open_bundle(tiny_bundle), "data")
    assert smaller.known is None
    assert tuned.known is None
    assert aware.known == last.known == tuned.key


def test_what_teaches_features_is_part_of_a_step(tmp_path: Path, tiny_bundle: Path) -> None:
    aware = "quantization_aware: {part: encoder, training: {objective: features, encoder_from: block_6}}"
    text = f"name: s\nvariants:\n  a:\n    - {aware}\n    - quantize: {{encoder: int8}}\n"
    model = open_bundle(tiny_bundle)
    first = nodes_of(study(tmp_path, text).variants[1], model, "data")[0]
    settings = first.step.model_dump(mode="json")
    del settings["training"]["dropout_scale"]
    assert first.key == digest_of([model.digest, first.step.kind, settings, 1, "data"])
    tuned = text.replace("  a:\n", "  a:\n    - fine_tune: {}\n")
    words, second, _ = nodes_of(study(tmp_path, tuned).variants[1], model, "data")
    assert second.key == digest_of([words.key, second.step.kind, settings, 1, "data", words.key])


def test_a_setting_that_came_later_leaves_other_steps_what_they_were(tmp_path: Path, tiny_bundle: Path) -> None:
    text = """name: s
variants:
  plain: [{fine_tune: {training: {epochs: 2}}}]
  said: [{fine_tune: {training: {epochs: 2, dropout_scale: 1.0}}}]
  scaled: [{fine_tune: {training: {epochs: 2, dropout_scale: 0.5}}}]
"""
    model = open_bundle(tiny_bundle)
    plain, said, scaled = (nodes_of(one, model, "data")[0] for one in study(tmp_path, text).variants[1:])
    before = plain.step.model_dump(mode="json")
    del before["training"]["dropout_scale"]
    assert plain.key == said.key == digest_of([model.digest, "fine_tune", before, plain.seed, "data"])
    assert scaled.key != plain.key


def test_a_file_of_weights_is_part_of_a_step_by_its_content_and_name(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = open_bundle(tiny_bundle)

    def key(path: str, content: bytes) -> str:
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_bytes(content)
        text = f"name: s\nvariants:\n  a: [{{architecture: {{encoder_weights: {path}, training: {{}}}}}}]\n"
        return nodes_of(study(tmp_path, text).variants[1], model, "data")[0].key

    first = key("w.h5", b"one")
    assert key("w.h5", b"two") != first
    assert key("w.h5", b"one") == key("elsewhere/w.h5", b"one") == key(str(tmp_path / "w.h5"), b"one") == first
    assert key("other.h5", b"one") != first  # the bundle's provenance has the name


def test_a_file_of_weights_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "name: s\nvariants:\n  a: [{architecture: {encoder_weights: w/../e.h5, training: {}}}]\n"
    (step,) = study(tmp_path, text).variants[1].chain.steps
    located = step.located()
    assert step.files == {"encoder_weights": Path("w/../e.h5")}, "a recipe says what it said"
    monkeypatch.chdir("/")
    assert located.files == {"encoder_weights": tmp_path / "e.h5"}
    assert Architecture(encoder_weights="imagenet").files == {}


def test_a_file_of_weights_that_is_gone_is_named_with_its_line(tmp_path: Path, tiny_bundle: Path) -> None:
    text = f"name: s\nvariants:\n  a:\n    - architecture: {{encoder_weights: {tmp_path}/gone.h5, training: {{}}}}\n"
    with pytest.raises(UsageError, match=r"s\.yaml, line 4: architecture: .*/gone\.h5: can't be read: No such file"):
        nodes_of(study(tmp_path, text).variants[1], open_bundle(tiny_bundle), "data")


def test_other_data_another_seed_or_another_model_are_other_steps(tmp_path: Path, tiny_bundle: Path) -> None:
    text = "name: s\nseeds: [1, 2]\nvariants:\n  a: [{hard: {part: decoder, sparsity: 0.5}}]\n"
    model = open_bundle(tiny_bundle)
    _, first, second = study(tmp_path, text).variants
    keys = {nodes_of(variant, model, data)[0].key for variant in (first, second) for data in ("x", "y")}
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: s\n", "line 1: a study needs axes or variants"),
        ("name: s\nvariants: {a b: [], a_b: []}\n", "line 1: variants 'a b' and 'a_b' would share a folder"),
        ("name: s\naxes: {}\n", "line 2: axes is a mapping"),
        ("name: s\nmodels: [a, a]\nvariants: {v: []}\n", "line 2: a model is named twice"),
        ("name: s\nseeds: [1, x]\nvariants: {v: []}\n", "line 2: a seed is a whole number"),
        (
            "name: s\nvariants:\n  v:\n    - store\n    - hard: {part: decoder, sparsity: 0.5}\n",
            "line 5: hard after store",
        ),
        ("name: s\naxes:\n  a:\n    x: [{hard: {}}]\n", r"line 4: hard\.part: Field required"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=rf"s\.yaml, {message}"):
        study(tmp_path, text)

import json
from dataclasses import replace
from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from compression.measurement import MEASUREMENT
from compression.measuring.quality import ScoredSplit
from compression.measuring.timing import Timing
from compression.settings.delivery import Store
from compression.step_registry import apply_step
from compression.steps.store import apply as store
from compression.study import read_study
from compression.study_run import (
    StudyConfig,
    StudyOutcome,
    TrainingImages,
    _keep_failures,
    _made_earlier,
    finish_variant,
    is_measured,
    is_taken,
    plan_study,
)
from compression.variants import RECORD
from tests.bundle_builders import SyntheticSet
from tests.step_contexts import step_context


def study_config(folder: Path, model: Path, data: TrainingImages) -> StudyConfig:
    path = folder / "study.yaml"
    path.write_text("name: s\nvariants:\n  a: [{hard: {part: decoder, sparsity: 0.5}}]\n", encoding="utf-8")
    return StudyConfig(read_study(str(path)), {"model": model}, folder / "out", data)


NO_DATA = TrainingImages(None, None, None, Path())


def test_an_equal_bundle_and_its_measurement_are_left_as_they_are(tiny_bundle: Path, tmp_path: Path) -> None:
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    variant = config.study.variants[1]
    bundle = finish_variant(config, variant, open_bundle(tiny_bundle))
    written = (bundle.folder / "manifest.json").stat().st_mtime_ns
    measurement = bundle.folder.parent / MEASUREMENT
    measurement.write_text("{}")
    finish_variant(config, variant, open_bundle(tiny_bundle))
    assert (bundle.folder / "manifest.json").stat().st_mtime_ns == written
    assert measurement.exists()


def test_what_was_measured_of_another_bundle_is_dropped(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    """A recipe that is changed under the same name must not keep the figures of what it made before."""
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    variant = config.study.variants[1]
    bundle = finish_variant(config, variant, open_bundle(tiny_bundle))
    (bundle.folder.parent / MEASUREMENT).write_text("{}")
    stored = store(Store(), step_context(tiny_bundle, synthetic_set, tmp_path / "stored"))
    assert finish_variant(config, variant, stored).is_compressed("weights.safetensors")
    assert not is_measured(config, variant)


def test_steps_are_other_steps_when_the_dev_split_is(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    dev = tmp_path / "dev.txt"
    names = (synthetic_set.folder / "train.txt").read_text().split()

    def key(images: list[str]) -> str:
        dev.write_text("\n".join(images))
        captions = synthetic_set.data_config(dev_split=str(dev))
        data = TrainingImages(captions.images, captions.train_split, captions, tmp_path)
        return plan_study(study_config(tmp_path, tiny_bundle, data)).nodes[0].key

    assert key(names) == key(names) != key(names[:4])


def test_a_study_lacks_no_model_and_knows_all_that_are_given(tiny_bundle: Path, tmp_path: Path) -> None:
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    with pytest.raises(UsageError, match="needs the model 'model'"):
        replace(config, models={})
    with pytest.raises(UsageError, match="has no model 'other'"):
        replace(config, models={**config.models, "other": tiny_bundle})


def two_variants(folder: Path, model: Path) -> StudyConfig:
    steps = "[{hard: {part: decoder, sparsity: 0.5}}]"
    (folder / "two.yaml").write_text(f"name: s\nvariants:\n  a: {steps}\n  b: {steps}\n", encoding="utf-8")
    return StudyConfig(read_study(str(folder / "two.yaml")), {"model": model}, folder, NO_DATA)


def test_a_part_is_timed_beside_what_was_made_before(tiny_bundle: Path, tmp_path: Path) -> None:
    whole = two_variants(tmp_path, tiny_bundle)
    part = replace(whole, study=whole.study.only(["a"]))
    assert _made_earlier(part) == {}
    for name in ("a", "b"):
        (tmp_path / "variants" / name).mkdir(parents=True)
        (tmp_path / "variants" / name / MEASUREMENT).write_text("{}")
    assert _made_earlier(part) == {"b": tmp_path / "variants" / "b" / "bundle"}
    assert _made_earlier(whole) == {}


def test_causes_of_failures_are_kept_of_what_a_run_did_not_try(tiny_bundle: Path, tmp_path: Path) -> None:
    whole = two_variants(tmp_path, tiny_bundle)
    _keep_failures(whole, StudyOutcome({}, {"a": "lost", "b": "broken", "gone": "renamed since"}))
    part = replace(whole, study=whole.study.only(["a"]))
    _keep_failures(part, StudyOutcome({"a": tmp_path}, {}))
    assert json.loads((tmp_path / "failures.json").read_text()) == {"b": "broken"}


def test_a_step_is_done_once_its_record_is_there(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    """The bundle comes first: a process that was killed between the two must not lose what the step measured."""
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    (node,) = plan_study(config).nodes
    context = step_context(tiny_bundle, synthetic_set, config.step_folder(node.key))
    apply_step(node.step, context)
    assert is_taken(config, node)
    (context.folder / RECORD).unlink()
    assert not is_taken(config, node)


def test_a_split_that_can_not_be_scored_is_refused(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    captions = str(synthetic_set.folder / "captions.token.txt")
    split = tmp_path / "split.txt"

    def check(names: str) -> None:
        split.write_text(names)
        scored = ScoredSplit("split", synthetic_set.folder / "images", captions, str(split))
        plan_study(replace(config, scored=scored))

    check("red_plain.png\n")
    with pytest.raises(UsageError, match=r"nowhere\.png: no such file"):
        check("red_plain.png\nnowhere.png\n")


def test_speed_is_measured_on_what_is_scored_or_else_trained_on(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    images, train = synthetic_set.folder / "images", synthetic_set.folder / "train.txt"
    config = study_config(tmp_path, tiny_bundle, TrainingImages(images, str(train), None, tmp_path))
    assert config.sample_files() == tuple(images / name for name in train.read_text().split())

    split = tmp_path / "split.txt"
    split.write_text("red_plain.png\n")
    scored = ScoredSplit("split", images, str(synthetic_set.folder / "captions.token.txt"), str(split))
    assert replace(config, scored=scored).sample_files() == (images / "red_plain.png",)
    assert replace(config, data=NO_DATA).sample_files() == ()

    train_with_another = tmp_path / "train.txt"
    train_with_another.write_text("red_plain.png\nnowhere.png\n")
    lacking = replace(config, data=TrainingImages(images, str(train_with_another), None, tmp_path))
    with pytest.raises(UsageError, match=r"--train-split: .*nowhere\.png: no such file"):
        plan_study(replace(lacking, timing=Timing(threads=(1,))))


def test_threads_that_can_not_be_timed_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    with pytest.raises(UsageError, match="999 threads can't be measured"):
        plan_study(replace(config, timing=Timing(threads=(999,))))

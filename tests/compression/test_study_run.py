import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import open_bundle
from caption_core.errors import UsageError
from compression.measurement import MEASUREMENT, ScoredContent, write_measurement
from compression.measuring.quality import ScoredSplit
from compression.measuring.timing import Timing
from compression.settings.delivery import Store
from compression.step_registry import apply_step
from compression.steps.store import apply as store
from compression.study import read_study
from compression.study_run import (
    StudyConfig,
    StudyOutcome,
    _keep_failures,
    _made_earlier,
    finish_variant,
    found_measurement,
    is_measured,
    is_taken,
    plan_study,
)
from compression.training_images import TrainingImages
from compression.variants import RECORD
from tests.bundle_builders import SyntheticSet
from tests.compression.report.measurements import measurement, quality
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
    write_measurement(bundle.folder.parent / MEASUREMENT, measurement("a", bundle_id=bundle.model_id))
    assert found_measurement(bundle) is not None
    stored = store(Store(), step_context(tiny_bundle, synthetic_set, tmp_path / "stored"))
    changed = finish_variant(config, variant, stored)
    assert changed.is_compressed("weights.safetensors")
    assert found_measurement(changed) is None
    write_measurement(changed.folder.parent / MEASUREMENT, measurement("a", bundle_id="another@0123456789ab"))
    assert found_measurement(changed) is None


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


def test_what_was_measured_is_what_is_asked_for(tiny_bundle: Path, tmp_path: Path) -> None:
    config = replace(study_config(tmp_path, tiny_bundle, NO_DATA), beam_widths=(1, 3))
    variant, content = config.study.variants[1], ScoredContent("dev", 12, "as it is")
    scores = tuple(quality(0.5, beam_width=width).model_copy(update={"digest": "as it is"}) for width in (1, 3))

    def measured(config: StudyConfig = config, content: ScoredContent | None = content, **changes: Any) -> bool:
        return is_measured(config, variant, content, measurement("a", **{"quality": scores, **changes}))

    assert measured()
    assert measured(content=None)
    assert not measured(replace(config, beam_widths=(1, 2)))
    assert not measured(content=replace(content, digest="edited"))
    assert not measured(content=replace(content, split="test"))
    assert not measured(quality=(), other_quality=scores)  # no report would show them


def test_scores_without_a_digest_are_told_by_the_number_of_images(tiny_bundle: Path, tmp_path: Path) -> None:
    config = replace(study_config(tmp_path, tiny_bundle, NO_DATA), beam_widths=(3,))
    old = measurement("a", quality=(quality(0.5),))
    assert is_measured(config, config.study.variants[1], ScoredContent("dev", 12, "new"), old)
    assert not is_measured(config, config.study.variants[1], ScoredContent("dev", 13, "new"), old)


def test_a_run_that_says_otherwise_of_random_weights_measures_again(tiny_bundle: Path, tmp_path: Path) -> None:
    config = study_config(tmp_path, tiny_bundle, NO_DATA)
    marked, variant = replace(config, random_weights=("model",)), config.study.variants[1]
    plain, random = measurement("a"), measurement("a", random_weights=True)
    assert is_measured(config, variant, None, plain)
    assert is_measured(marked, variant, None, random)
    assert not is_measured(marked, variant, None, plain)
    assert not is_measured(config, variant, None, random)


def quantizing(folder: Path, model: Path, data: TrainingImages) -> StudyConfig:
    path = folder / "int8.yaml"
    path.write_text("name: s\nvariants:\n  a:\n  - search: {beam_width: 1}\n  - quantize: {encoder: int8}\n")
    return StudyConfig(read_study(str(path)), {"model": model}, folder / "out", data)


def lacking_one(folder: Path, data: SyntheticSet) -> Path:
    """A split whose last image has no file."""
    path = folder / "train.txt"
    path.write_text((data.folder / "train.txt").read_text() + "nowhere.png\n")
    return path


def test_an_image_that_a_step_calibrates_on_is_missed_before_any_work(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    images, split = synthetic_set.folder / "images", str(lacking_one(tmp_path, synthetic_set))
    data = TrainingImages(images, split, None, tmp_path)
    config = quantizing(tmp_path, tiny_bundle, data)
    said = r"int8\.yaml, line 5: quantize: --train-split: .*images/nowhere\.png: no such file; --skip-missing leaves"
    with pytest.raises(UsageError, match=said):
        plan_study(config)
    plan_study(study_config(tmp_path, tiny_bundle, data))  # pruning at once reads no image

    told: list[str] = []
    plan = plan_study(replace(config, data=replace(data, skip_missing=True)), told.append)
    assert plan.train_names == tuple((synthetic_set.folder / "train.txt").read_text().split())
    assert len(told) == 1
    assert "of 13 images, 1 have no file" in told[0]


def test_a_step_that_is_done_needs_its_images_no_more(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = str(lacking_one(tmp_path, synthetic_set))
    data = TrainingImages(synthetic_set.folder / "images", split, None, tmp_path)
    monkeypatch.setattr("compression.study_run.is_taken", lambda *_: True)
    plan_study(quantizing(tmp_path, tiny_bundle, data))


def test_images_may_lie_in_folders_of_the_folder(
    tiny_bundle: Path, synthetic_set: SyntheticSet, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    for name, folder in (("red_plain.png", "train2014"), ("blue_plain.png", "val2014")):
        (images / folder).mkdir(parents=True)
        shutil.copy(synthetic_set.folder / "images" / name, images / folder)
    split = tmp_path / "split.txt"
    split.write_text("blue_plain.png\nred_plain.png\n")
    found = ("val2014/blue_plain.png", "train2014/red_plain.png")
    scored = ScoredSplit("split", images, str(synthetic_set.folder / "captions.token.txt"), str(split))
    config = quantizing(tmp_path, tiny_bundle, TrainingImages(images, str(split), None, tmp_path))
    assert plan_study(replace(config, scored=scored)).train_names == found
    assert replace(config, scored=scored).scored_files() == tuple(images / name for name in found)

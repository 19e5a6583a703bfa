from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from caption_core.errors import UsageError
from compression.measurement import Measurement
from compression.report.comparing import baseline_of, dense_twin, runtime_twin
from compression.report.measured import Measured, collect
from tests.compression.report.measurements import INT8, PRUNE, measurement, write_study

Step = Mapping[str, Any]
FLOAT32: Step = {"quantize": {"decoder": "float32"}}
FLOAT16 = {"quantize": {"encoder": "float16"}}
TUNE: Step = {"fine_tune": {}}


def found(folder: Path, *measurements: Measurement) -> dict[str, Measured]:
    return {one.name: one for one in collect([write_study(folder / "study", measurements)])}


def twin_of(folder: Path, pruned: tuple[Step, ...], **others: tuple[Step, ...]) -> str | None:
    """The dense twin of a variant of these steps, among others and the captioner as it is."""
    made = [measurement(name, *steps) for name, steps in {"pruned": pruned, **others}.items()]
    variants = found(folder, measurement("as is"), *made)
    twin = dense_twin(variants["pruned"], list(variants.values()))
    return twin.name if twin else None


def test_a_variant_is_compared_with_its_own_captioner_as_it_is(tmp_path: Path) -> None:
    variants = found(
        tmp_path,
        measurement("one as is", model="one"),
        measurement("two as is", model="two"),
        measurement("b", PRUNE, model="two"),
        measurement("orphan", PRUNE, model="three"),
    )
    everything = list(variants.values())
    baselines = {name: baseline_of(one, everything) for name, one in variants.items()}
    assert baselines["b"] is variants["two as is"]
    assert baselines["one as is"] is variants["one as is"]
    assert baselines["orphan"] is None
    assert baseline_of(variants["orphan"], everything, "b") is variants["b"]
    with pytest.raises(UsageError, match=r"baseline 'gone': no such variant; there are one as is, two as is"):
        baseline_of(variants["b"], everything, "gone")


def test_the_twin_of_a_pruned_captioner_is_the_same_graph_with_all_weights(tmp_path: Path) -> None:
    assert twin_of(tmp_path / "a", (PRUNE,)) == "as is"
    assert twin_of(tmp_path / "b", (PRUNE, INT8), int8=(INT8,), other=(FLOAT16,)) == "int8"
    assert twin_of(tmp_path / "c", (PRUNE, INT8), other=(FLOAT16,), both=(PRUNE, INT8)) is None


def test_what_is_not_pruned_has_no_twin(tmp_path: Path) -> None:
    assert twin_of(tmp_path, (INT8,), other=(INT8,)) is None


def test_a_format_that_is_not_named_is_float(tmp_path: Path) -> None:
    float16 = {"quantize": {"encoder": "float16", "decoder": "float32"}}
    assert twin_of(tmp_path, (PRUNE, FLOAT16), other=(float16,)) == "other"


def test_calibration_and_training_make_no_other_graph_but_beams_do(tmp_path: Path) -> None:
    calibrated = {"quantize": {**INT8["quantize"], "calibration_images": 20}}
    assert twin_of(tmp_path / "a", (PRUNE, INT8), other=(calibrated,)) == "other"
    tied = {"tie_embedding": {"training": {"epochs": 3}}}
    assert twin_of(tmp_path / "b", (PRUNE, {"tie_embedding": {}}), other=(tied,)) == "other"
    narrow = {"search": {"beam_width": 1}}
    assert twin_of(tmp_path / "c", (PRUNE, narrow)) is None


def test_of_several_twins_the_one_with_most_steps_in_common_is_taken(tmp_path: Path) -> None:
    assert twin_of(tmp_path / "a", (TUNE, PRUNE, INT8), int8=(INT8,), tuned=(TUNE, INT8)) == "tuned"
    assert twin_of(tmp_path / "b", (PRUNE, INT8), tuned=(TUNE, INT8), z_int8=(INT8,)) == "z_int8"


def test_of_equal_twins_the_one_of_the_same_seed_is_taken(tmp_path: Path) -> None:
    made = [
        measurement(f"{name}{n}", *steps, seed=n)
        for name, steps in (("p", (PRUNE, INT8)), ("q", (INT8,)))
        for n in (1, 2)
    ]
    variants = found(tmp_path, *made)
    twin = dense_twin(variants["p2"], list(variants.values()))
    assert twin is variants["q2"]


def runtime_twin_of(folder: Path, *measurements: Measurement, variant: str = "int8") -> str | None:
    """The variant that differs from the captioner as it is in the runtime only, for one of the variants."""
    variants = found(folder, measurement("as is"), measurement("int8", INT8), *measurements)
    twin = runtime_twin(variants[variant], variants["as is"], list(variants.values()))
    return twin.name if twin else None


def test_the_baseline_in_another_runtime_has_float_weights_and_all_of_them(tmp_path: Path) -> None:
    stored = measurement("float", FLOAT32, {"store": {}})
    assert runtime_twin_of(tmp_path / "a", measurement("float16", FLOAT16), stored) == "float"
    assert runtime_twin_of(tmp_path / "b", measurement("sparse", PRUNE, FLOAT32)) is None
    assert runtime_twin_of(tmp_path / "c", measurement("narrow", {"search": {"beam_width": 1}}, FLOAT32)) is None
    assert runtime_twin_of(tmp_path / "d", measurement("float", FLOAT32, model="other")) is None


def test_what_runs_where_its_baseline_does_has_no_twin_of_another_runtime(tmp_path: Path) -> None:
    made = [measurement("float", FLOAT32), measurement("tuned", TUNE)]
    assert runtime_twin_of(tmp_path / "a", *made, variant="tuned") is None
    assert runtime_twin_of(tmp_path / "b", *made, variant="float") == "float"

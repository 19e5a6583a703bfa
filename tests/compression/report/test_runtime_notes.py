from pathlib import Path

from compression.measurement import Measurement
from compression.report.measured import collect
from compression.report.rows import make_rows
from compression.report.runtime_notes import runtime_notes
from tests.compression.report.measurements import INT8, MACHINE, PRUNE, measurement, speeds, write_study

FLOAT = measurement("float", {"quantize": {"encoder": "float32", "decoder": "float32"}}, speed=speeds(165.0))


def notes(folder: Path, *measurements: Measurement, baseline: str | None = None) -> list[str]:
    measured = collect([write_study(folder / "study", measurements)])
    return runtime_notes(make_rows(measured, baseline=baseline))


def test_what_the_runtime_alone_brings_is_told(tmp_path: Path) -> None:
    (text,) = notes(tmp_path, measurement("merge"), FLOAT, measurement("int8", INT8, speed=speeds(300.0)))
    assert text.startswith("Speed-ups of 2 captioners in LiteRT against a baseline in TensorFlow include the change")
    assert (
        "float, the same model in LiteRT with float32 weights, unpruned, runs at 1.65 times the speed of merge" in text
    )


def test_what_can_not_be_told_of_the_runtime_is_said(tmp_path: Path) -> None:
    (text,) = notes(tmp_path / "a", measurement("merge"), measurement("int8", INT8))
    assert "can't be told against merge: no speed was measured of the same model in LiteRT" in text
    untimed = FLOAT.model_copy(update={"speed": ()})
    assert (
        "can't be told against merge" in notes(tmp_path / "b", measurement("merge"), untimed, measurement("i", INT8))[0]
    )


def test_each_baseline_has_a_share_of_its_own(tmp_path: Path) -> None:
    quick = FLOAT.model_copy(update={"variant": "quick", "model": "two", "speed": speeds(200.0)})
    (text,) = notes(tmp_path, measurement("merge"), FLOAT, measurement("two as is", model="two"), quick)
    assert "runs at 1.65 times the speed of merge." in text
    assert "quick, the same model in LiteRT with float32 weights, unpruned, runs at 2.00 times" in text


def test_a_baseline_of_the_same_runtime_needs_no_note(tmp_path: Path) -> None:
    assert notes(tmp_path / "a", measurement("merge"), measurement("pruned", PRUNE)) == []
    assert notes(tmp_path / "b", FLOAT, measurement("int8", INT8), baseline="float") == []


def test_speeds_that_are_not_compared_need_none(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"processor": "Other CPU"})
    assert notes(tmp_path / "a", measurement("merge"), measurement("int8", INT8, machine=other)) == []
    assert notes(tmp_path / "b", measurement("merge", speed=()), measurement("int8", INT8)) == []

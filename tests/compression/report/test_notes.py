from pathlib import Path

from compression.measurement import Measurement
from compression.report.measured import collect
from compression.report.notes import notes_of
from compression.report.rows import make_rows
from tests.compression.report.measurements import INT8, MACHINE, example_study, measurement, speed, write_study


def notes(folder: Path, *measurements: Measurement) -> str:
    measured = collect([write_study(folder / "study", measurements)])
    return "\n".join(notes_of(measured, make_rows(measured)))


def test_split_beams_machine_and_random_weights_are_told(tmp_path: Path) -> None:
    text = notes(tmp_path, *example_study())
    assert "Scored on 12 images of dev, beam width 3." in text
    assert "no references were given" in text
    assert "Measured on Example CPU, 2 cores, 8.1 GB of memory, Linux 6, x86_64; numpy 2.0." in text
    assert "'random weights' have an untrained encoder" in text


def test_several_machines_are_told_apart(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"cores": 1})
    text = notes(tmp_path, measurement("model as is"), measurement("a", INT8, machine=other))
    assert "1 core," in text
    assert "within one kind of machine only" in text


def test_nothing_is_said_of_what_was_not_measured(tmp_path: Path) -> None:
    text = notes(tmp_path, measurement("model as is", quality=(), speed=()))
    assert text.startswith("Measured on Example CPU")
    assert "\n" not in text


def test_the_baseline_is_told_once_where_all_have_the_same(tmp_path: Path) -> None:
    made = [measurement("a as is", model="a"), measurement("x", INT8, model="a")]
    assert "Changes and speed-ups are against a as is." in notes(tmp_path / "one", *made)
    others = [measurement("b as is", model="b"), measurement("y", INT8, model="b")]
    assert "against the captioner that each was made from." in notes(tmp_path / "two", *made, *others)
    assert "are against" not in notes(tmp_path / "none", made[0])


def test_repeats_are_told_of_the_batches_that_speeds_are_of(tmp_path: Path) -> None:
    timed = (speed(70, batch=1, spread=0.5), speed(100, batch=8, spread=0.04))
    assert "differed by up to 4 %" in notes(tmp_path, measurement("model as is", speed=timed))


def test_notes_of_runtimes_and_of_pruning_are_among_them(tmp_path: Path) -> None:
    text = notes(tmp_path, *example_study())
    assert "in LiteRT against a baseline in TensorFlow" in text
    assert "Pruning brought no speed" in text

from pathlib import Path

from compression.measurement import Measurement
from compression.report.measured import collect
from compression.report.notes import WHY_NO_SPEED, notes_of
from compression.report.rows import make_rows
from tests.compression.report.measurements import INT8, MACHINE, PRUNE, example_study, measurement, speeds, write_study


def notes(folder: Path, *measurements: Measurement) -> str:
    measured = collect([write_study(folder / "study", measurements)])
    return "\n".join(notes_of(measured, make_rows(measured)))


def test_where_pruning_brings_no_speed_the_report_says_so_and_why(tmp_path: Path) -> None:
    text = notes(tmp_path, *example_study())
    assert "Pruning brought no speed: 2 pruned captioners ran at 0.98 to 1.01 times the speed" in text
    assert WHY_NO_SPEED in text


def test_what_is_faster_by_more_than_repeats_differ_is_named(tmp_path: Path) -> None:
    fast = measurement("fast", PRUNE, speed=speeds(120.0))
    alone = notes(tmp_path / "a", measurement("model as is"), fast)
    assert "1 pruned captioner ran at 1.20 times" in alone
    assert "Faster by more than repeats differ: fast." in alone
    assert WHY_NO_SPEED not in alone
    both = notes(tmp_path / "b", measurement("model as is"), fast, measurement("slow", PRUNE, speed=speeds(103.0)))
    assert "differ: fast. Pruning brought the others no speed" in both


def test_pruned_captioners_without_a_twin_are_named(tmp_path: Path) -> None:
    text = notes(tmp_path, measurement("model as is"), measurement("lonely", PRUNE, INT8))
    assert "what pruning alone did to speed is not known: lonely." in text
    assert "no speed" not in text


def test_without_pruning_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert "run" not in notes(tmp_path, measurement("model as is"), measurement("int8", INT8)).lower().split()
    assert "Prun" not in notes(tmp_path / "again", measurement("model as is"), measurement("int8", INT8))


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

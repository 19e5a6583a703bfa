from pathlib import Path

from compression.measurement import Measurement
from compression.report.measured import collect
from compression.report.pruning_notes import WHY_NO_SPEED, pruning_notes
from compression.report.rows import make_rows
from tests.compression.report.measurements import INT8, PRUNE, example_study, measurement, speeds, write_study


def notes(folder: Path, *measurements: Measurement) -> str:
    measured = collect([write_study(folder / "study", measurements)])
    return "\n".join(pruning_notes(measured, make_rows(measured)))


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


def test_pruned_captioners_without_a_twin_are_named_and_told_why_zeros_bring_no_speed(tmp_path: Path) -> None:
    text = notes(tmp_path, measurement("model as is"), measurement("lonely", PRUNE, INT8))
    assert f"what pruning alone did to speed is not known: lonely. {WHY_NO_SPEED}" in text
    assert "no speed" not in text


def test_the_reason_is_given_once(tmp_path: Path) -> None:
    text = notes(tmp_path, measurement("model as is"), measurement("slow", PRUNE), measurement("lonely", PRUNE, INT8))
    assert "Pruning brought no speed: 1 pruned captioner" in text
    assert "not known: lonely." in text
    assert text.count(WHY_NO_SPEED) == 1


def test_pruned_captioners_that_were_not_timed_are_said_not_to_be(tmp_path: Path) -> None:
    untimed = notes(tmp_path / "a", measurement("model as is"), measurement("pruned", PRUNE, speed=()))
    assert untimed == "No speed of the pruned captioners was measured."
    one = measurement("other", PRUNE, speed=speeds(100.0))
    assert "was measured" not in notes(tmp_path / "b", measurement("pruned", PRUNE, speed=()), one)


def test_without_pruning_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert notes(tmp_path, measurement("model as is"), measurement("int8", INT8)) == ""


def gated(name: str, found: float, asked: float) -> Measurement:
    step = {"kind": "supermask", "settings": {"sparsity": asked}, "gates_sparsity": found, "pruned_at_once": []}
    return measurement(name, {"supermask": {"sparsity": asked}}, speed=(), steps=(step,))


def test_gates_that_came_to_another_sparsity_are_told(tmp_path: Path) -> None:
    made = [gated("far", 0.011, 0.3), gated("over", 0.99, 0.95), gated("near", 0.945, 0.95)]
    text = notes(tmp_path, measurement("model as is"), *made)
    assert "28.9 % of the gated weights of far (1.1 % zeros in place of 30.0 %)" in text
    assert "4.0 % of the gated weights of over (99.0 % zeros in place of 95.0 %)." in text
    assert "near" not in text
    assert "at once" not in text


def test_matrices_that_were_pruned_without_training_are_counted(tmp_path: Path) -> None:
    steps = ({"kind": "magnitude", "pruned_at_once": ["a", "b"]}, {"kind": "snip", "pruned_at_once": ["c"]})
    made = [measurement("early", PRUNE, speed=(), steps=steps), measurement("late", PRUNE, speed=())]
    text = notes(tmp_path, *made)
    assert text.endswith("since they did not train: 2 matrices of early, 1 matrix of early.")

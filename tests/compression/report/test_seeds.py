from pathlib import Path

import pytest

from compression.report.measured import collect
from compression.report.rows import Row, make_rows
from compression.report.seeds import seed_rows
from tests.compression.report.measurements import INT8, PRUNE, measurement, quality, write_study


def summaries(folder: Path) -> list[Row]:
    scores = {1: 0.5, 2: 0.6, 4: 0.55}
    made = [
        measurement(f"int8+seed={seed}", INT8, seed=seed, axes={"variant": "int8"}, quality=(quality(score),))
        for seed, score in scores.items()
    ]
    once = measurement("once+seed=1", PRUNE, axes={"variant": "once"})
    measured = collect([write_study(folder / "study", [measurement("model as is"), *made, once])])
    return seed_rows(measured, make_rows(measured))


def test_one_choice_of_several_seeds_is_one_row_with_mean_and_sample_deviation(tmp_path: Path) -> None:
    (row,) = summaries(tmp_path)
    assert (row["variant"], row["seeds"], row["seed_numbers"]) == ("int8", 3, "1, 2, 4")
    assert row["CIDEr-D_mean"] == pytest.approx(0.55)
    assert row["CIDEr-D_sd"] == pytest.approx(0.05)
    assert (row["CIDEr-D_min"], row["CIDEr-D_max"]) == (0.5, 0.6)
    assert row["score_change_mean"] == pytest.approx(-0.05)
    assert row["axis_variant"] == "int8"


def test_neither_seeds_nor_ends_of_intervals_nor_truth_values_are_averaged(tmp_path: Path) -> None:
    (row,) = summaries(tmp_path)
    averaged = {name.removesuffix("_mean") for name in row if name.endswith("_mean")}
    assert not {"seed", "CIDEr-D_low", "CIDEr-D_high", "random_weights", "threads_1_spread"} & averaged
    assert row["random_weights"] is False

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from caption_core.errors import UsageError
from caption_core.metrics.bootstrap import Difference, Interval
from compression.measurement import Measurement, Quality
from compression.measuring.quality import compare_captions
from compression.report.measured import collect
from compression.report.rows import Compare, Row, make_rows
from compression.report.wording import machine_in_words
from tests.compression.report.measurements import (
    INT8,
    MACHINE,
    PRUNE,
    measurement,
    quality,
    sizes,
    speed,
    speeds,
    write_study,
)


def rows_of(
    folder: Path, measurements: Sequence[Measurement], *, beam_width: int | None = None, compare: Compare | None = None
) -> dict[str, Row]:
    measured = collect([write_study(folder / "study", measurements)])
    return {row["variant"]: row for row in make_rows(measured, beam_width=beam_width, compare=compare)}


def test_changes_are_against_the_captioner_as_it_is(study: Path) -> None:
    rows = {row["variant"]: row for row in make_rows(collect([study]))}
    int8 = rows["int8"]
    assert int8["score_change"] == pytest.approx(-0.01)
    assert int8["score_change_percent"] == pytest.approx(-100 / 60)
    assert int8["Bleu_4_change"] == pytest.approx(-0.01 / 3)
    assert int8["CIDEr_change"] == pytest.approx(-0.011)
    assert int8["size_change_percent"] == pytest.approx(-75)
    assert int8["threads_1_speedup"] == pytest.approx(3.1)
    assert int8["threads_2_speedup_noise"] == 0.04
    assert rows["pruned"]["epochs"] == 2
    assert rows["pruned"]["decoder_distinct_values"] == 1234.5
    assert "whole_distinct_values" not in rows["pruned"]
    assert rows["pruned"]["sparsity"] == pytest.approx(0.3)
    assert not {"score_change", "size_change_percent", "threads_1_speedup"} & rows["model as is"].keys()


def test_each_row_names_its_machine(study: Path) -> None:
    assert {row["machine"] for row in make_rows(collect([study]))} == {machine_in_words(MACHINE)}


@pytest.mark.parametrize(("digest", "compared"), [("a", True), ("b", False), (None, True)])
def test_scores_of_another_split_of_that_name_are_left_alone(
    tmp_path: Path, digest: str | None, compared: bool
) -> None:
    """Measurements of before there were digests are, where split and number are equal."""

    def scored(score: float, of: str | None) -> tuple[Quality, ...]:
        return (quality(score).model_copy(update={"digest": of}),)

    before = measurement("model as is", quality=scored(0.6, "a"))
    rows = rows_of(tmp_path, [before, measurement("pruned", PRUNE, quality=scored(0.5, digest))])
    assert ("score_change" in rows["pruned"]) is compared


def test_epochs_under_fixed_masks_count(tmp_path: Path) -> None:
    steps = ({"kind": "supermask", "history": [{}, {}], "fine_tuning": [{}]}, {"kind": "store"})
    measured = collect([write_study(tmp_path, [measurement("sparse", PRUNE, steps=steps)])])
    assert make_rows(measured)[0]["epochs"] == 3


def test_another_baseline_can_be_named(study: Path) -> None:
    rows = {row["variant"]: row for row in make_rows(collect([study]), baseline="int8")}
    assert rows["model as is"]["size_change_percent"] == pytest.approx(300)
    assert {row["baseline"] for row in rows.values()} == {"int8"}


def test_pruning_is_timed_against_its_twin(study: Path) -> None:
    rows = {row["variant"]: row for row in make_rows(collect([study]))}
    assert rows["pruned int8"]["dense_twin"] == "int8"
    assert rows["pruned int8"]["threads_1_speedup_over_dense"] == pytest.approx(305 / 310)
    assert "threads_1_speedup_over_dense" not in rows["int8"]


def test_each_is_shown_with_its_own_beams_or_all_with_those_asked_for(tmp_path: Path) -> None:
    narrow = measurement("narrow", {"search": {"beam_width": 1}}, beam_width=1)
    made = [measurement("model as is"), narrow]
    own = rows_of(tmp_path / "own", made)
    assert [row["beam_width"] for row in own.values()] == [3, 1]
    assert own["narrow"]["score_change"] == pytest.approx(0.55 - 0.6)
    assert own["narrow"]["threads_1_speedup"] == pytest.approx(3)
    asked = rows_of(tmp_path / "asked", made, beam_width=1)
    assert [row["beam_width"] for row in asked.values()] == [1, 1]
    assert asked["narrow"]["score_change"] == 0
    assert asked["narrow"]["threads_1_speedup"] == 1


def test_beams_that_nothing_was_measured_with_are_refused(study: Path) -> None:
    with pytest.raises(UsageError, match=r"beam width 7: nothing was measured with it; measured: 1, 3"):
        make_rows(collect([study]), beam_width=7)


def test_random_weights_have_no_scores_but_sizes_and_times(tmp_path: Path) -> None:
    made = [measurement("model as is", random_weights=True), measurement("a", INT8, random_weights=True)]
    row = rows_of(tmp_path, made)["a"]
    assert not {"CIDEr-D", "Bleu_1", "score_change", "study_BLEU-1"} & row.keys()
    assert row["size_change_percent"] == 0
    assert row["threads_1_speedup"] == 1


def test_scores_of_other_images_are_not_compared(tmp_path: Path) -> None:
    row = rows_of(
        tmp_path, [measurement("model as is"), measurement("a", INT8, quality=(quality(0.5, split="test"),))]
    )["a"]
    assert row["CIDEr-D"] == 0.5
    assert "score_change" not in row


def test_speeds_on_another_machine_are_not_compared(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"processor": "Other CPU"})
    row = rows_of(tmp_path, [measurement("model as is"), measurement("a", INT8, machine=other)])["a"]
    assert row["threads_1_images_per_s"] == 100
    assert "threads_1_speedup" not in row


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, [measurement("model as is", speed=(), quality=()), measurement("a", INT8)])
    assert not any(name.startswith("threads_") for name in rows["model as is"])
    assert "score_change" not in rows["a"]
    assert "threads_1_speedup" not in rows["a"]


def test_minutes_are_those_from_files_whichever_batch_is_fastest(tmp_path: Path) -> None:
    made = measurement("model as is", speed=(speed(100, batch=1), speed(80, batch=8)))
    row = rows_of(tmp_path, [made])["model as is"]
    assert row["threads_1_images_per_s"] == 100
    assert row["threads_1_minutes_2000"] == pytest.approx(2000 / 64 / 60)
    assert row["threads_1_p50_ms"] == 10


def test_one_image_alone_and_the_fastest_batch_each_have_rate_and_times(tmp_path: Path) -> None:
    timed = (speed(50, batch=1, spread=0.1), speed(100, batch=8, spread=0.04))
    row = rows_of(tmp_path, [measurement("model as is", speed=timed)])["model as is"]
    assert (row["threads_1_images_per_s"], row["threads_1_batch"], row["threads_1_spread"]) == (100, 8, 0.04)
    assert (row["threads_1_batch_1_images_per_s"], row["threads_1_batch_1_spread"]) == (50, 0.1)
    assert (row["threads_1_p50_ms"], row["threads_1_p95_ms"]) == (20, 22)
    assert (row["threads_1_best_batch_p50_ms"], row["threads_1_best_batch_p95_ms"]) == (80, 88)


def test_what_the_runtime_alone_does_to_speed_is_told_beside_speedups(tmp_path: Path) -> None:
    twin = measurement("float", {"quantize": {}}, speed=speeds(165.0))
    rows = rows_of(tmp_path, [measurement("model as is"), twin, measurement("int8", INT8, speed=speeds(300.0))])
    assert (rows["int8"]["runtime"], rows["int8"]["baseline_runtime"]) == ("litert", "tensorflow")
    assert rows["int8"]["runtime_twin"] == "float"
    assert rows["int8"]["threads_1_speedup"] == pytest.approx(3)
    assert rows["int8"]["threads_1_speedup_of_runtime"] == pytest.approx(1.65)
    assert "threads_1_speedup_of_runtime" not in rows["model as is"]


def test_intervals_of_changes_are_paired(tmp_path: Path) -> None:
    pairs: list[tuple[str, str]] = []

    def compare(captions: Path, baseline: Path) -> dict[str, Difference]:
        pairs.append((captions.relative_to(tmp_path).as_posix(), baseline.relative_to(tmp_path).as_posix()))
        return {
            "CIDEr-D": Difference(-0.1, Interval(-0.2, 0.05), 0.3),
            "Bleu_4": Difference(-0.03, Interval(-0.05, -0.01), 0.02),
        }

    row = rows_of(tmp_path, [measurement("model as is"), measurement("a", INT8)], compare=compare)["a"]
    assert (row["score_change_low"], row["score_change_high"], row["score_change_p"]) == (-0.2, 0.05, 0.3)
    assert (row["Bleu_4_change_low"], row["Bleu_4_change_high"], row["Bleu_4_change_p"]) == (-0.05, -0.01, 0.02)
    assert "Bleu_1_change_low" not in row
    name = "captions-dev-beam-3.parquet"
    assert pairs == [(f"study/variants/01/{name}", f"study/variants/00/{name}")]


def test_worse_captions_have_an_interval_below_zero(tmp_path: Path, references: Path) -> None:
    made = [measurement("model as is", quality=(quality(1.0),)), measurement("a", INT8, quality=(quality(0.3),))]
    row = rows_of(tmp_path, made, compare=lambda one, other: compare_captions(one, other, str(references)))["a"]
    for name in ("score_change", "Bleu_1_change", "Bleu_4_change", "CIDEr_change"):
        assert row[f"{name}_low"] < row[f"{name}_high"] < 0


def test_a_recipe_is_one_line_of_yaml(tmp_path: Path) -> None:
    row = rows_of(tmp_path, [measurement("a", PRUNE, INT8, sizes=sizes(1.0))])["a"]
    assert yaml.safe_load(row["recipe"]) == [PRUNE, INT8]
    assert "\n" not in row["recipe"]

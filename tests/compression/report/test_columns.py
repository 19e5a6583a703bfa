import re
from pathlib import Path

import pytest

from compression.measurement import Measurement
from compression.report.columns import Table, readable_tables
from compression.report.layers import layer_table
from compression.report.measured import collect
from compression.report.rows import make_rows
from compression.report.seeds import seed_rows
from tests.compression.report.measurements import INT8, PRUNE, example_study, layers, measurement, sizes, write_study

DOCS = Path(__file__).resolve().parents[3] / "docs" / "compression.md"


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    seeds = [measurement(f"x+seed={n}", INT8, seed=n, axes={"variant": "x"}) for n in (1, 2)]
    measured = collect([write_study(tmp_path / "study", [*example_study(), *seeds])])
    rows = make_rows(measured, compare=None)
    return {table.title: table for table in readable_tables(rows, seed_rows(measured, rows))}


def tables_of(folder: Path, *measurements: Measurement) -> dict[str, Table]:
    rows = make_rows(collect([write_study(folder / "study", measurements)]))
    return {table.title: table for table in readable_tables(rows)}


def cell(table: Table, variant: str, heading: str) -> str:
    (line,) = [line for line in table.cells if line[0] == variant]
    return line[table.headings.index(heading)]


def test_cells_are_rounded_and_have_signs_and_intervals(tables: dict[str, Table]) -> None:
    assert cell(tables["At a glance"], "int8", "change %") == "-1.7"
    assert cell(tables["At a glance"], "int8", "size %") == "-75.0"
    assert cell(tables["At a glance"], "int8", "speed-up, 2 threads") == "3.10"
    assert cell(tables["Quality"], "int8", "CIDEr-D [95 %]") == "0.590 [0.560, 0.620]"
    assert cell(tables["Changes against the baseline"], "int8", "CIDEr-D change") == "-0.010"
    assert cell(tables["Changes against the baseline"], "int8", "BLEU-4 change") == "-0.003"
    assert cell(tables["Size"], "pruned", "vocabulary kB") == "20.0"
    assert cell(tables["Size of the decoder"], "pruned", "zeros %") == "90.0"
    assert cell(tables["Size of the decoder"], "pruned", "non-zeros M") == "0.10"
    assert cell(tables["Size of the encoder"], "pruned", "MB") == "3.60"
    assert cell(tables["Size of the encoder"], "pruned", "expanded MB") == "7.20"
    assert cell(tables["Speed, 1 thread"], "int8", "images/s") == "310 ± 6.2"
    assert cell(tables["Speed, 1 thread"], "int8", "batch") == "8"
    assert cell(tables["Speed, 1 thread"], "int8", "images/s, batch 1") == "217 ± 4.3"
    assert cell(tables["Speed, 1 thread"], "pruned int8", "over dense") == "0.98"
    assert cell(tables["Mean over seeds"], "x", "CIDEr-D") == "0.600 ± 0.000"


def test_random_weights_are_named_in_place_of_scores(tables: dict[str, Table]) -> None:
    assert cell(tables["At a glance"], "wide", "CIDEr-D") == "random weights"
    assert "wide" not in [line[0] for line in tables["Quality"].cells]
    assert "wide" in [line[0] for line in tables["Speed, 1 thread"].cells]


def test_the_baseline_has_no_changes(tables: dict[str, Table]) -> None:
    for heading in ("change %", "size %", "speed-up, 1 thread"):
        assert cell(tables["At a glance"], "model as is", heading) == ""


def test_what_no_row_fills_is_left_out(tmp_path: Path) -> None:
    bare = measurement("model as is", quality=(), speed=())
    rows = make_rows(collect([write_study(tmp_path / "study", [bare])]))
    found = {table.title: table.headings for table in readable_tables(rows)}
    assert found.keys() == {"At a glance", "Size", "Size of the encoder", "Size of the decoder"}
    assert "CIDEr-D" not in found["At a glance"]


def test_values_are_told_of_each_part_alone(tmp_path: Path) -> None:
    parts = {"encoder": 250.0, "decoder": 65_000.0, "vocabulary": 0.0, "whole": 40_000.0}
    mixed = {part: one.model_copy(update={"distinct_values": parts[part]}) for part, one in sizes(1.0).items()}
    found = tables_of(tmp_path, measurement("model as is", sizes=mixed))
    assert cell(found["Size of the encoder"], "model as is", "values") == "250"
    assert cell(found["Size of the decoder"], "model as is", "values") == "65,000"
    assert "values" not in found["Size"].headings


def test_the_runtime_is_named_where_runtimes_differ(tmp_path: Path) -> None:
    as_is, int8 = measurement("model as is"), measurement("int8", INT8)
    both = tables_of(tmp_path / "both", as_is, int8)["Speed, 2 threads"]
    assert (cell(both, "model as is", "runtime"), cell(both, "int8", "runtime")) == ("TensorFlow", "LiteRT")
    alike = tables_of(tmp_path / "alike", as_is, measurement("pruned", PRUNE))
    assert "runtime" not in alike["Speed, 1 thread"].headings
    untimed = tables_of(tmp_path / "untimed", as_is, measurement("int8", INT8, speed=()))
    assert "runtime" not in untimed["Speed, 1 thread"].headings


def test_the_baseline_is_named_where_baselines_differ(tmp_path: Path) -> None:
    made = [
        measurement(f"{name}{end}", *steps, model=name)
        for name in ("a", "b")
        for end, steps in ((" as is", ()), ("+int8", (INT8,)))
    ]
    changes = tables_of(tmp_path / "two", *made)["Changes against the baseline"]
    assert [line[0] for line in changes.cells] == ["a+int8", "b+int8"]
    assert cell(changes, "b+int8", "baseline") == "b as is"
    one = tables_of(tmp_path / "one", *made[:2])["Changes against the baseline"]
    assert "baseline" not in one.headings


def test_every_column_has_a_meaning(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert len(set(table.headings)) == len(table.headings) == len(table.meanings)
        assert all(meaning.endswith(".") for meaning in table.meanings)


def test_the_documentation_names_every_column(tables: dict[str, Table], tmp_path: Path) -> None:
    text = DOCS.read_text(encoding="utf-8")
    models = [measurement(f"{name} as is", model=name) for name in ("a", "b")]
    quantized = [measurement(f"{name}+int8", INT8, model=name, layers=layers(error=0.01)) for name in ("a", "b")]
    measured = collect([write_study(tmp_path / "several", [*models, *quantized])])
    worst = layer_table(measured[-1])
    assert worst is not None
    all_tables = [*tables.values(), *readable_tables(make_rows(measured)), worst]
    named = {re.sub(r", (1 thread|\d+ threads)$", "", heading) for t in all_tables for heading in t.headings}
    assert [heading for heading in sorted(named) if f"`{heading}`" not in text] == []

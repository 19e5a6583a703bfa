import re
from pathlib import Path

import pytest

from compression.report.columns import Table, readable_tables
from compression.report.measured import collect
from compression.report.rows import make_rows
from compression.report.seeds import seed_rows
from tests.compression.report.measurements import INT8, example_study, measurement, write_study

DOCS = Path(__file__).resolve().parents[3] / "docs" / "compression.md"


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Table]:
    seeds = [measurement(f"x+seed={n}", INT8, seed=n, axes={"variant": "x"}) for n in (1, 2)]
    measured = collect([write_study(tmp_path / "study", [*example_study(), *seeds])])
    rows = make_rows(measured, compare=None)
    return {table.title: table for table in readable_tables(rows, seed_rows(measured, rows))}


def cell(table: Table, variant: str, heading: str) -> str:
    (line,) = [line for line in table.cells if line[0] == variant]
    return line[table.headings.index(heading)]


def test_cells_are_rounded_and_have_signs_and_intervals(tables: dict[str, Table]) -> None:
    assert cell(tables["At a glance"], "int8", "change %") == "-1.7"
    assert cell(tables["At a glance"], "int8", "size %") == "-75.0"
    assert cell(tables["At a glance"], "int8", "speed-up, 2 threads") == "3.10"
    assert cell(tables["Quality"], "int8", "CIDEr-D [95 %]") == "0.590 [0.560, 0.620]"
    assert cell(tables["Quality"], "int8", "change [95 %]") == "-0.010"
    assert cell(tables["Size"], "pruned", "decoder zeros %") == "90.0"
    assert cell(tables["Speed"], "int8", "images/s, 1 thread") == "310 ± 6.2"
    assert cell(tables["Speed"], "pruned int8", "over dense, 1 thread") == "0.98"
    assert cell(tables["Mean over seeds"], "x", "CIDEr-D") == "0.600 ± 0.000"


def test_random_weights_are_named_in_place_of_scores(tables: dict[str, Table]) -> None:
    assert cell(tables["At a glance"], "wide", "CIDEr-D") == "random weights"
    assert "wide" not in [line[0] for line in tables["Quality"].cells]
    assert "wide" in [line[0] for line in tables["Speed"].cells]


def test_the_baseline_has_no_changes(tables: dict[str, Table]) -> None:
    for heading in ("change %", "size %", "speed-up, 1 thread"):
        assert cell(tables["At a glance"], "model as is", heading) == ""


def test_what_no_row_fills_is_left_out(tmp_path: Path) -> None:
    bare = measurement("model as is", quality=(), speed=())
    rows = make_rows(collect([write_study(tmp_path / "study", [bare])]))
    found = {table.title: table.headings for table in readable_tables(rows)}
    assert found.keys() == {"At a glance", "Size"}
    assert "CIDEr-D" not in found["At a glance"]


def test_every_column_has_a_meaning(tables: dict[str, Table]) -> None:
    for table in tables.values():
        assert len(set(table.headings)) == len(table.headings) == len(table.meanings)
        assert all(meaning.endswith(".") for meaning in table.meanings)


def test_the_documentation_names_every_column(tables: dict[str, Table]) -> None:
    text = DOCS.read_text(encoding="utf-8")
    named = {re.sub(r", (1 thread|\d+ threads)$", "", heading) for t in tables.values() for heading in t.headings}
    assert [heading for heading in sorted(named) if f"`{heading}`" not in text] == []

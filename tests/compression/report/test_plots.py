import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from compression.report.measured import collect
from compression.report.plots import FrontChart, size_chart, speed_chart
from compression.report.rows import Row, make_rows
from tests.compression.report.measurements import INT8, measurement, quality, sizes, write_study

TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture
def rows(study: Path) -> list[Row]:
    return make_rows(collect([study]))


def texts(chart: FrontChart | None) -> list[str]:
    assert chart is not None
    return ["".join(element.itertext()) for element in ET.fromstring(chart.svg).iter(TEXT)]


def test_a_chart_of_size_names_variants_axes_and_units_as_text(rows: list[Row]) -> None:
    found = texts(size_chart(rows))
    assert {"model as is", "pruned", "int8", "pruned int8", "stored size, MB (logarithmic)"} <= set(found)
    assert "CIDEr-D (lines: 95 % interval)" in found
    assert "wide" not in found


def test_baselines_are_told_apart_from_what_is_pruned_and_what_is_not(rows: list[Row]) -> None:
    assert {"baseline", "pruned", "not pruned", "Pareto front"} <= set(texts(size_chart(rows)))
    assert "pruned" not in texts(size_chart([row for row in rows if not row["pruned"]]))


def test_the_front_is_told(rows: list[Row]) -> None:
    size, speed = size_chart(rows), speed_chart(rows, 2)
    assert size is not None
    assert speed is not None
    assert size.front == ("pruned int8", "int8", "model as is")
    assert speed.front == ("model as is", "int8")
    assert "images a second, 2 threads (logarithmic)" in texts(speed)


def test_equal_input_is_an_equal_file(rows: list[Row]) -> None:
    first, second = size_chart(rows), size_chart([dict(row) for row in rows])
    assert first is not None
    assert first == second


def test_names_are_texts_whatever_is_in_them(tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "$\\frac{1}$ & $x$"]
    made = [measurement(name, INT8, sizes=sizes(1.0 + i)) for i, name in enumerate(names)]
    chart = size_chart(make_rows(collect([write_study(tmp_path / "study", made)])))
    assert set(names) <= set(texts(chart))
    assert chart is not None
    assert b"<script" not in chart.svg


def test_no_chart_without_scores_or_speeds(tmp_path: Path) -> None:
    rows = make_rows(
        collect([write_study(tmp_path / "study", [measurement("a", speed=()), measurement("b", INT8, quality=())])])
    )
    assert size_chart(rows[1:]) is None
    assert speed_chart(rows, 1) is None
    assert size_chart(rows) is not None


def test_a_chart_of_many_variants_stays_small_and_names_the_front(tmp_path: Path) -> None:
    made = [
        measurement(
            f"encoder=pruned-int8+decoder=dynamic+seed={n}",
            INT8,
            sizes=sizes(1 + n / 20),
            quality=(quality(0.3 + n % 7 / 50),),
        )
        for n in range(80)
    ]
    chart = size_chart(make_rows(collect([write_study(tmp_path / "study", made)])))
    assert chart is not None
    assert len(chart.svg) < 60_000
    named = [text for text in texts(chart) if "seed=" in text]
    assert len(named) == len(chart.front) == 7

import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from caption_core.errors import UsageError
from compression.report import write
from compression.report.formats import FORMATS
from compression.report.write import ReportConfig, write_report
from jobs.train_commands.report import report
from tests.compression.report.measurements import INT8, PRUNE, layers, measurement, write_study


def config(study: Path, **changes: Any) -> ReportConfig:
    return ReportConfig((study,), study.parent / "out", "A title", **changes)


def test_all_formats_are_written_and_the_charts_beside_them(study: Path) -> None:
    names = [path.name for path in write_report(config(study))]
    assert {f"a-title.{form}" for form in FORMATS} <= set(names)
    charts = {name for name in names if name.endswith(".svg")}
    assert {"a-title-size.svg", "a-title-speed-1.svg", "a-title-speed-2.svg"} <= charts
    assert "a-title-layers-4-pruned-int8.svg" in charts
    assert sorted(path.name for path in (study.parent / "out").iterdir()) == sorted(names)
    assert all(path.stat().st_size < 60_000 for path in (study.parent / "out").glob("*.svg"))


def test_equal_input_is_equal_files(study: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_report(config(study))}
    second = {path.name: path.read_bytes() for path in write_report(config(study))}
    assert first == second


def test_formats_agree_with_each_other(study: Path, references: Path) -> None:
    written = write_report(config(study, references=str(references), formats=("json", "parquet")))
    paths = {path.name: path for path in written}
    rows = json.loads(paths["a-title.json"].read_text())
    assert pq.read_table(paths["a-title.parquet"]).to_pylist() == rows
    assert [row["variant"] for row in rows] == ["model as is", "pruned", "int8", "pruned int8", "wide"]
    assert rows[2]["score_change_low"] <= rows[2]["score_change_high"]
    assert rows[4]["CIDEr-D"] is None


def test_chosen_variants_are_still_compared_with_what_is_not_shown(study: Path) -> None:
    path, layers = write_report(config(study, variants=("pruned int8",), formats=("json",)))
    assert {row["variant"] for row in json.loads(layers.read_text())} == {"pruned int8"}
    (row,) = json.loads(path.read_text())
    assert (row["baseline"], row["dense_twin"]) == ("model as is", "int8")
    assert row["size_change_percent"] == pytest.approx(-86)


def test_several_seeds_have_a_table_of_their_own(tmp_path: Path) -> None:
    made = [measurement(f"x+seed={n}", INT8, seed=n, axes={"variant": "x"}) for n in (1, 2)]
    study = write_study(tmp_path / "study", [measurement("model as is"), *made])
    names = {path.name for path in write_report(config(study, formats=("csv", "md")))}
    assert "a-title-seeds.csv" in names
    assert "## Mean over seeds" in (tmp_path / "out" / "a-title.md").read_text()


def test_layers_that_are_asked_for_are_written_one_by_one(study: Path) -> None:
    paths = {path.name: path for path in write_report(config(study, layers=("int8",)))}
    rows = json.loads(paths["a-title-layers.json"].read_text())
    assert pq.read_table(paths["a-title-layers.parquet"]).to_pylist() == rows
    assert {row["variant"] for row in rows} == {"int8"}
    assert len(paths["a-title-layers.csv"].read_text().splitlines()) == 1 + len(rows) == 10
    assert rows[-1] | {"elements": None, "sparsity": None} == rows[-1]
    assert (rows[-1]["layer"], rows[-1]["error"]) == ("decoder/gone/kernel", 0.02)


def test_layers_of_variants_that_have_none_are_no_files(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", [measurement("model as is")])
    assert [path.name for path in write_report(config(study, formats=("csv",)))] == ["a-title.csv"]


def test_names_that_differ_in_signs_only_have_charts_of_their_own(tmp_path: Path) -> None:
    made = [measurement(name, PRUNE, layers=layers(0.9)) for name in ("a+b", "a=b")]
    names = [path.name for path in write_report(config(write_study(tmp_path / "study", made), formats=("md",)))]
    assert len([name for name in names if "-layers-" in name]) == 2
    assert len(set(names)) == len(names)


def test_layers_are_drawn_of_the_variants_that_are_named_and_older_charts_go(study: Path) -> None:
    write_report(config(study, formats=("md",)))
    (folder := study.parent / "out").joinpath("a-title-notes.svg").write_text("somebody's own")
    write_report(config(study, formats=("md",), layers=("int8",)))
    assert [path.name for path in sorted(folder.glob("*-layers-*"))] == ["a-title-layers-1-int8.svg"]
    assert (folder / "a-title-notes.svg").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ("gone",)}, r"variant 'gone': no such variant; there are model as is, pruned"),
        ({"baseline": "gone"}, r"baseline 'gone': no such variant"),
        ({"layers": ("gone",)}, r"variant 'gone': no such variant"),
        ({"beam_width": 9}, r"beam width 9: nothing was measured"),
        ({"references": "/nowhere.txt"}, r"nowhere\.txt"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_written(study: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_report(config(study, **changes))
    assert not (study.parent / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": "…"}, "a letter or a digit"),
        ({"studies": ()}, "at least one measured study"),
        ({"formats": ("pdf",)}, "unknown format 'pdf'; there are md, html"),
        ({"formats": ()}, "at least one format"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    fields: dict[str, Any] = {"studies": (tmp_path,), "output": tmp_path, "title": "t"} | changes
    with pytest.raises(UsageError, match=message):
        ReportConfig(**fields)


def test_a_package_that_is_missing_is_one_line_and_tables_go_without_it(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "matplotlib" else object())
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=r"needs matplotlib, which is not installed: pip install"):
        write_report(config(study))
    assert len(write_report(config(study, formats=("csv", "json", "parquet")))) == 6


def test_a_file_that_can_not_be_finished_leaves_the_old_one_and_nothing_else(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_report(config(study, formats=("csv",)))
    before = [path.read_bytes() for path in paths]

    def fail(*_: object) -> None:
        raise OSError("full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="full"):
        write_report(config(study, variants=("int8",), formats=("csv",)))
    assert [path.read_bytes() for path in paths] == before
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_the_command_tells_what_it_wrote(study: Path, references: Path, tmp_path: Path) -> None:
    arguments = [str(study), "--output", str(tmp_path / "o"), "--title", "My study", "--references", str(references)]
    done = CliRunner().invoke(report, [*arguments, "--format", "csv", "--format", "md"], catch_exceptions=False)
    assert done.exit_code == 0
    assert str(tmp_path / "o" / "my-study.csv") in done.output.splitlines()
    assert not (tmp_path / "o" / "my-study.html").exists()


def test_the_command_refuses_a_format_that_there_is_none_of(study: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(report, [str(study), "--output", str(tmp_path), "--format", "pdf"])
    assert done.exit_code == 2
    assert "'pdf' is not one of" in done.output

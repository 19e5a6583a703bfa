import shutil
from pathlib import Path

import pytest

from caption_core.errors import UsageError
from compression.measurement import MEASUREMENT
from compression.report.measured import collect, find
from tests.compression.report.measurements import PRUNE, measurement, write_study


def test_variants_come_in_the_studys_order_behind_the_captioner_as_it_is(tmp_path: Path) -> None:
    made = [measurement("a", PRUNE), measurement("b", PRUNE), measurement("new", PRUNE), measurement("model as is")]
    study = write_study(tmp_path / "study", made, listed=["model as is", "b", "a"])
    assert [one.name for one in collect([study])] == ["model as is", "b", "a", "new"]


def test_without_a_list_they_come_by_name(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", [measurement("b", PRUNE), measurement("a", PRUNE)])
    (study / "study.json").unlink()
    assert [one.name for one in collect([study])] == ["a", "b"]


def test_a_folder_that_is_given_twice_counts_once(study: Path) -> None:
    assert len(collect([study, study / "variants", study.parent / "." / "study"])) == 5


def test_equal_names_of_several_studies_are_told_apart_by_the_study(tmp_path: Path) -> None:
    one = write_study(tmp_path / "one", [measurement("model as is"), measurement("a", PRUNE)])
    two = write_study(tmp_path / "two", [measurement("model as is", study="other")])
    found = collect([one, two])
    assert [each.name for each in found] == ["pairs/model as is", "pairs/a", "other/model as is"]
    assert find(found, "a", "variant").name == "pairs/a"
    with pytest.raises(UsageError, match=r"several have this name: pairs/model as is, other/model as is"):
        find(found, "model as is", "baseline")


def test_two_runs_of_a_study_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [write_study(tmp_path / name, [measurement("model as is")]) for name in ("monday", "tuesday")]
    assert [one.name for one in collect(runs)] == ["monday/model as is", "tuesday/model as is"]
    shutil.copytree(runs[0], tmp_path / "copy" / "monday")
    with pytest.raises(UsageError, match="measured in two folders"):
        collect([*runs, tmp_path / "copy"])


def test_a_folder_without_measurements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing was measured there"):
        collect([tmp_path])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "[unclosed"}, "recipe: not a list of steps"),
        ({"recipe": "just text"}, "recipe: not a list of steps"),
        ({"sizes": {}}, "the size of the whole is missing"),
    ],
)
def test_a_damaged_measurement_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    study = write_study(tmp_path / "study", [measurement("a", PRUNE, **changes)])
    with pytest.raises(UsageError, match=rf"{MEASUREMENT}: .*{message}"):
        collect([study])


def test_a_damaged_list_is_named(study: Path) -> None:
    (study / "study.json").write_text("[]")
    with pytest.raises(UsageError, match=r"study\.json: not a study's list"):
        collect([study])

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from caption_core.errors import UsageError
from caption_core.metrics.scores import MetricError
from compression.measuring.quality import ScoredSplit, compare_captions, measure_quality, write_captions
from tests.bundle_builders import SyntheticSet


@pytest.fixture
def references(synthetic_set: SyntheticSet) -> str:
    return str(synthetic_set.folder / "captions.token.txt")


@pytest.fixture
def scored(synthetic_set: SyntheticSet, references: str) -> ScoredSplit:
    return ScoredSplit("train", synthetic_set.folder / "images", references, str(synthetic_set.folder / "train.txt"))


def test_a_split_is_captioned_and_scored(tiny_int8_bundle: Path, scored: ScoredSplit, tmp_path: Path) -> None:
    quality = measure_quality(tiny_int8_bundle, scored, tmp_path, beam_width=2, threads=2)
    assert (quality.split, quality.images, quality.beam_width) == ("train", 12, 2)
    assert quality.scores.keys() == quality.intervals.keys()
    assert {"Bleu_1", "Bleu_4", "ROUGE_L", "CIDEr-D", "CIDEr"} <= quality.scores.keys()
    assert quality.scores["Bleu_1"] > 0.5
    for name, score in quality.scores.items():
        low, high = quality.intervals[name]
        assert low <= score <= high
    assert quality.study_bleu["BLEU-1"] > quality.scores["Bleu_1"]
    rows = pq.read_table(tmp_path / quality.captions)
    assert rows.column_names == ["image_id", "caption"]
    assert rows["image_id"].to_pylist() == Path(scored.split).read_text().split()
    assert [path.name for path in tmp_path.iterdir()] == [quality.captions]


def test_the_search_is_the_bundles_own_unless_another_is_asked_for(
    tiny_int8_bundle: Path, scored: ScoredSplit, tmp_path: Path
) -> None:
    assert measure_quality(tiny_int8_bundle, scored, tmp_path).captions == "captions-train-beam-3.parquet"


def test_an_image_of_the_split_that_is_missing_is_named(
    tiny_int8_bundle: Path, scored: ScoredSplit, references: str, tmp_path: Path
) -> None:
    (tmp_path / "split.txt").write_text("red_plain.png\ngone.png\n")
    lacking = ScoredSplit("dev", scored.images, references, str(tmp_path / "split.txt"))
    with pytest.raises(UsageError, match=r"split dev.*gone\.png"):
        measure_quality(tiny_int8_bundle, lacking, tmp_path)


def write(folder: Path, name: str, captions: dict[str, str]) -> Path:
    path = folder / name
    write_captions(path, list(captions), list(captions.values()))
    return path


def truth(synthetic_set: SyntheticSet) -> dict[str, str]:
    names = (synthetic_set.folder / "train.txt").read_text().split()
    patterns = {"plain": "plain wall", "striped": "striped flag"}
    parts = {name: name.removesuffix(".png").split("_") for name in names}
    return {name: f"a {colour} {patterns[pattern]}" for name, (colour, pattern) in parts.items()}


def test_captions_are_no_better_than_themselves(synthetic_set: SyntheticSet, references: str, tmp_path: Path) -> None:
    path = write(tmp_path, "a.parquet", truth(synthetic_set))
    for difference in compare_captions(path, path, references).values():
        assert difference.value == difference.interval.low == difference.interval.high == 0
        assert difference.p_value == 1


def test_worse_captions_are_worse_beyond_chance(synthetic_set: SyntheticSet, references: str, tmp_path: Path) -> None:
    right = truth(synthetic_set)
    wrong = dict(zip(right, list(right.values())[::-1], strict=True))
    difference = compare_captions(
        write(tmp_path, "wrong.parquet", wrong), write(tmp_path, "right.parquet", right), references
    )["CIDEr-D"]
    assert difference.interval.low <= difference.value <= difference.interval.high < 0
    assert difference.p_value < 0.01


def test_captions_are_compared_on_their_common_images(
    synthetic_set: SyntheticSet, references: str, tmp_path: Path
) -> None:
    right = truth(synthetic_set)
    few = dict(list(right.items())[:5])
    all_of_them, some = write(tmp_path, "all.parquet", right), write(tmp_path, "some.parquet", few)
    assert compare_captions(some, all_of_them, references)["Bleu_1"].value == 0
    with pytest.raises(MetricError, match="without a caption"):
        compare_captions(all_of_them, some, references)


@pytest.mark.parametrize("name", ["", "a/b", "/tmp/split.txt"])
def test_a_splits_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a name that a file can have"):
        ScoredSplit(name, tmp_path, "references", "split")


def test_scores_need_draws(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resamples must be at least 1"):
        ScoredSplit("dev", tmp_path, "references", "split", resamples=0)

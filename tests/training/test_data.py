import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.training.config import DataConfig
from caption_core.training.data import load_data
from tests.bundle_builders import SyntheticSet

IMAGES = [("a.jpg", "train"), ("b.jpg", "val"), ("c.jpg", "restval"), ("d.jpg", "test")]


def karpathy(path: Path) -> str:
    images = [
        {"filename": name, "cocoid": number, "split": split, "sentences": [{"raw": f"a thing in {name}"}]}
        for number, (name, split) in enumerate(IMAGES)
    ]
    path.write_text(json.dumps({"dataset": "coco", "images": images}))
    return str(path)


def annotations(folder: Path, part: slice) -> str:
    numbers = range(len(IMAGES))[part]
    path = folder / f"captions_{part.start}.json"
    images = [{"id": number, "file_name": IMAGES[number][0]} for number in numbers]
    notes = [{"image_id": number, "caption": f"a thing in {IMAGES[number][0]}"} for number in numbers]
    path.write_text(json.dumps({"images": images, "annotations": notes}))
    return str(path)


def parquet(path: Path) -> str:
    names, splits = zip(*IMAGES, strict=True)
    pq.write_table(pa.table({"file_name": names, "caption": [f"a thing in {n}" for n in names], "split": splits}), path)
    return str(path)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name, split in IMAGES:
        folder = tmp_path / "images" / ("train2014" if split == "train" else "val2014")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return tmp_path / "images"


@pytest.mark.parametrize("form", ["Karpathy JSON", "COCO annotations", "Parquet"])
def test_coco_in_its_forms(images: Path, tmp_path: Path, form: str) -> None:
    forms: dict[str, dict[str, Any]] = {
        "Karpathy JSON": {"captions": (karpathy(tmp_path / "dataset_coco.json"),)},
        "COCO annotations": {
            "captions": (annotations(tmp_path, slice(0, 1)), annotations(tmp_path, slice(1, 4))),
            "splits": karpathy(tmp_path / "dataset_coco.json"),
        },
        "Parquet": {"captions": (parquet(tmp_path / "x.parquet"),)},
    }
    config = DataConfig(
        images=images,
        train_split="train+restval",
        dev_split="val",
        cache=tmp_path / "cache",
        min_word_count=1,
        **forms[form],
    )
    data = load_data(config)
    assert data.train.names == ("train2014/a.jpg", "val2014/c.jpg")
    assert data.train.captions == (("a thing in a.jpg",), ("a thing in c.jpg",))
    assert data.dev.names == ("val2014/b.jpg",)


def test_the_vocabulary_is_that_of_the_training_captions(synthetic_set: SyntheticSet) -> None:
    data = load_data(synthetic_set.data_config(limit_images=2))
    assert {"red", "plain", "striped"} <= set(data.vocabulary.words)
    assert "green" not in data.vocabulary.words
    assert len(data.train) == len(data.dev) == len(data.tokens.lengths) == 2

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.errors import UsageError
from caption_core.metrics.caption_files import CaptionFile
from tests.metrics.corpus_builders import caption_rows


def rows(file: CaptionFile) -> list[tuple[str, str | None]]:
    table = pa.Table.from_batches(list(file.batches()))
    return list(zip(table.column("image_id").to_pylist(), table.column("text").to_pylist(), strict=True))


def write_part(path: Path, captions: dict[str, str | None]) -> None:
    pq.write_table(caption_rows(captions), path)


def test_the_parts_of_a_run_in_order_without_what_lies_beside_them(tmp_path: Path) -> None:
    write_part(tmp_path / "part-00001.parquet", {"c.jpg": "a cat"})
    write_part(tmp_path / "part-00000.parquet", {"a.jpg": "a dog", "b.jpg": None})
    (tmp_path / "_run").mkdir()
    (tmp_path / "_run" / "run.json").write_text("{}")
    write_part(tmp_path / "_part-00002.parquet", {"d.jpg": "half-written"})
    file = CaptionFile(str(tmp_path))
    assert rows(file) == [("a.jpg", "a dog"), ("b.jpg", None), ("c.jpg", "a cat")]
    assert file.num_rows() == 3
    assert not file.has_numeric_ids()


def test_one_part(tmp_path: Path) -> None:
    write_part(tmp_path / "part.parquet", {"a.jpg": "a dog"})
    assert rows(CaptionFile(str(tmp_path / "part.parquet"))) == [("a.jpg", "a dog")]


def test_a_failed_row_has_no_caption_even_if_it_holds_text(tmp_path: Path) -> None:
    table = pa.table({"image_id": ["a"], "caption": ["left over"], "status": ["failed"]})
    pq.write_table(table, tmp_path / "x.parquet")
    assert rows(CaptionFile(str(tmp_path / "x.parquet"))) == [("a", None)]


def test_parquet_by_others(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": [5, 7], "caption": ["a", "b"]}), tmp_path / "x.parquet")
    file = CaptionFile(str(tmp_path / "x.parquet"))
    assert rows(file) == [("5", "a"), ("7", "b")]
    assert file.has_numeric_ids()


def test_coco_results(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([{"image_id": 42, "caption": "a dog"}, {"image_id": "7", "caption": "", "x": 1}]))
    file = CaptionFile(str(path))
    assert rows(file) == [("42", "a dog"), ("7", "")]
    assert file.num_rows() == 2
    assert file.has_numeric_ids()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.json", "{", "x.json"),
        ("x.json", "{}", "not COCO results"),
        ("x.json", '[{"caption": "a"}]', "record 0 has no proper 'image_id'"),
        ("x.json", '[{"image_id": true, "caption": "a"}]', "record 0 has no proper 'image_id'"),
        ("x.json", '[{"image_id": 1, "caption": null}]', "record 0 has no proper 'caption'"),
        ("x.parquet", "nonsense", "can't be read as Parquet"),
    ],
)
def test_a_wrong_file_is_named(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        CaptionFile(str(tmp_path / name))


def test_nothing_there(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path / "absent.json", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            CaptionFile(str(path))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "text": ["b"]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="no column with caption"):
        rows(CaptionFile(str(tmp_path / "x.parquet")))


def test_a_row_without_an_id_is_no_caption_of_anything(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a", None], "caption": ["b", "c"]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match="1 rows have no image_id"):
        rows(CaptionFile(str(tmp_path / "x.parquet")))

"""Parts: named by shard, written whole or not at all, and read back from their footers."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caption_core.archive.outcomes import ImageOutcome, count_outcomes, outcomes_to_table
from caption_core.archive.parts import (
    PartError,
    PartFooter,
    list_parts,
    part_name,
    read_footer,
    read_rows,
    shard_id_of,
    write_part,
)
from caption_core.archive.storage import Storage
from caption_core.errors import ImageError
from caption_core.records import OUTPUT_SCHEMA, VOLATILE_COLUMNS, Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings

OUTCOMES = [
    ImageOutcome(ImageRef("a.png", "file:///a.png"), Caption("a dog", -0.5, 2), 40, 30),
    ImageOutcome(ImageRef("b.png", "file:///b.png"), ImageError(ErrorKind.EMPTY, "zero bytes")),
]
FOOTER = PartFooter("f" * 64, {"model_id": "m@1", "beam_width": 3}, count_outcomes(OUTCOMES))


def write(folder: Path, shard_id: int = 0) -> Path:
    write_part(Storage.at(folder), shard_id, table(OUTCOMES, shard_id), FOOTER)
    return folder / part_name(shard_id)


def table(outcomes: list[ImageOutcome], shard_id: int = 0) -> pa.Table:
    return outcomes_to_table(outcomes, "m@1", shard_id, SearchSettings())


def footer(path: Path) -> PartFooter:
    return read_footer(Storage.at(path.parent), path.name)


@given(st.integers(0, 10**7))
def test_a_name_and_its_shard(shard_id: int) -> None:
    assert shard_id_of(part_name(shard_id)) == shard_id


@given(st.integers(0, 99_999), st.integers(0, 99_999))
def test_names_sort_as_shards_do(one: int, other: int) -> None:
    assert (part_name(one) < part_name(other)) == (one < other)


@pytest.mark.parametrize(
    "name", ["part-1.parquet", "part-000001.parquet", "part-00001.parquet.tmp", "_part-00001.parquet", "x.parquet", ""]
)
def test_other_names_are_no_parts(name: str) -> None:
    assert shard_id_of(name) is None


def test_a_part_reads_back(tmp_path: Path) -> None:
    path = write(tmp_path, 17)
    assert path == tmp_path / "part-00017.parquet"
    assert footer(path) == FOOTER
    assert list_parts(Storage.at(tmp_path)) == {17: path.name}
    assert pq.read_table(path).column_names == OUTPUT_SCHEMA.names
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_columns_explain_themselves(tmp_path: Path) -> None:
    schema = pq.read_schema(write(tmp_path))
    assert all(schema.field(name).metadata[b"description"] for name in OUTPUT_SCHEMA.names)


def test_the_same_shard_gives_the_same_rows_in_one_file(tmp_path: Path) -> None:
    first = pq.read_table(write(tmp_path)).drop_columns(VOLATILE_COLUMNS)
    assert pq.read_table(write(tmp_path)).drop_columns(VOLATILE_COLUMNS).equals(first)
    assert [path.name for path in tmp_path.iterdir()] == ["part-00000.parquet"]


def test_rows_read_back(tmp_path: Path) -> None:
    write(tmp_path, 3)
    rows = read_rows(Storage.at(tmp_path), 3, ["image_id", "error_kind"])
    assert rows.to_pylist() == [
        {"image_id": "a.png", "error_kind": None},
        {"image_id": "b.png", "error_kind": "empty"},
    ]


def test_readers_pass_over_what_is_half_written(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ".part-00001.parquet.0123456789abcdef.tmp").write_bytes(b"PAR1 half")
    (tmp_path / "_run").mkdir()
    (tmp_path / "_run" / "run.json").write_text("{}")
    assert ds.dataset(tmp_path, format="parquet").count_rows() == 2
    assert len(pd.read_parquet(tmp_path)) == 2


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_into_place = Storage.moved_into_place

    @contextmanager
    def full(storage: Storage, name: str) -> Iterator[str]:
        with moved_into_place(storage, name) as path:
            Path(path).write_bytes(b"PAR1 half")
            raise OSError(errno.ENOSPC, "No space left on device")
            yield path

    monkeypatch.setattr(Storage, "moved_into_place", full)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_damaged_part_is_told(tmp_path: Path, keep: float) -> None:
    path = write(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(PartError, match="damaged"):
        footer(path)


def test_a_foreign_parquet_file_is_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "part-00000.parquet")
    with pytest.raises(PartError, match="not written by a captioning run"):
        footer(tmp_path / "part-00000.parquet")


def test_counts_that_are_not_the_rows_are_told(tmp_path: Path) -> None:
    write_part(Storage.at(tmp_path), 0, table(OUTCOMES[:1]), FOOTER)
    path = tmp_path / part_name(0)
    with pytest.raises(PartError, match="1 rows, but its footer counts 2"):
        footer(path)

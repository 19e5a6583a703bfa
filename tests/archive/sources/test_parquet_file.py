"""Footers, and listing columns as far as they can be decoded."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.parquet_file import (
    LostRows,
    open_for_listing,
    open_parquet,
    read_layout,
    read_signature,
    row_batches,
)
from caption_core.errors import CapstanError, UsageError


def write_numbers(path: Path, num_rows: int, **options: object) -> Path:
    pq.write_table(pa.table({"n": range(num_rows), "text": [f"{n:08d}" for n in range(num_rows)]}), path, **options)
    return path


def listed(path: Path, column: str) -> list[object]:
    """The values of a column; None for each row that is lost."""
    values: list[object] = []
    with open_for_listing(str(path)) as parquet:
        for batch in row_batches(parquet, [column]):
            values += [None] * batch.num_rows if isinstance(batch, LostRows) else batch.column(column).to_pylist()
    return values


def test_the_layout_is_that_of_the_footer(tmp_path: Path) -> None:
    layout = read_layout(str(write_numbers(tmp_path / "a.parquet", 7)))
    assert (layout.num_rows, layout.schema.names) == (7, ["n", "text"])


def test_a_footer_longer_than_the_first_read_is_read(tmp_path: Path) -> None:
    names = [f"column_with_a_long_name_{index:05d}" for index in range(2000)]
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "wide.parquet")
    assert pq.read_metadata(tmp_path / "wide.parquet").serialized_size > 100_000
    assert read_layout(str(tmp_path / "wide.parquet")).schema.names == names


def test_equal_files_have_equal_signatures_and_others_have_others(tmp_path: Path) -> None:
    first = read_signature(str(write_numbers(tmp_path / "a.parquet", 7)))
    assert read_signature(str(write_numbers(tmp_path / "b.parquet", 7))) == first
    assert read_layout(str(tmp_path / "a.parquet")).signature == first
    assert read_signature(str(write_numbers(tmp_path / "c.parquet", 8))) != first


def test_what_is_no_parquet_file_is_a_usage_error(tmp_path: Path) -> None:
    good = write_numbers(tmp_path / "a.parquet", 1000).read_bytes()
    cases = {
        "empty": b"",
        "magic alone": b"PAR1",
        "text": b"url\nhttp://a/b.jpg\n" * 100,
        "cut off": good[:-9],
        "a footer of nonsense": good[:-200] + b"\xff" * 192 + good[-8:],
        "a footer that can't be so long": good[:-8] + b"\xff\xff\xff\x7fPAR1",
    }
    for name, data in cases.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        with pytest.raises(UsageError, match=r"\.parquet: not a Parquet file that can be read: \S") as caught:
            read_layout(str(path))
        assert "\n" not in str(caught.value)
        with pytest.raises(UsageError):
            open_for_listing(str(path))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.parquet"):
        read_layout(str(tmp_path / "nowhere.parquet"))
    with pytest.raises(CapstanError, match=r"nowhere\.parquet"):
        open_parquet(str(tmp_path / "nowhere.parquet"))


@settings(max_examples=20, deadline=None)
@given(num_rows=st.integers(0, 700), group=st.integers(1, 300))
def test_all_rows_are_listed_in_order(tmp_path_factory: pytest.TempPathFactory, num_rows: int, group: int) -> None:
    path = write_numbers(tmp_path_factory.mktemp("rows") / "a.parquet", num_rows, row_group_size=group)
    assert listed(path, "n") == list(range(num_rows))


def test_only_rows_of_a_damaged_page_and_after_it_in_its_row_group_are_lost(tmp_path: Path) -> None:
    options = {"use_dictionary": False, "data_page_size": 400, "write_batch_size": 10, "write_page_checksum": True}
    path = write_numbers(tmp_path / "a.parquet", 3000, row_group_size=1000, compression="none", **options)
    place = path.read_bytes().index(b"00001500")
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"!", place)
    texts = listed(path, "text")
    lost = [row for row, text in enumerate(texts) if text is None]
    assert 1470 <= lost[0] <= 1500
    assert lost == list(range(lost[0], 2000))
    assert [text for text in texts if text is not None] == [f"{n:08d}" for n in range(3000) if n not in set(lost)]
    assert listed(path, "n") == list(range(3000))

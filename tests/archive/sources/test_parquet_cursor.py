"""Rows of a Parquet file: exactly the right ones, whatever the order and the threads, in bounded memory."""

from __future__ import annotations

import errno
import os
import random
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.parquet_cursor import ParquetCursor
from caption_core.archive.sources.parquet_file import read_layout
from caption_core.errors import CapstanError, ImageError
from caption_core.records import ErrorKind
from tests.s3_server import S3Server


def value_of(row: int) -> bytes:
    """A value of its own for each row, of about 500 bytes, that hardly compresses."""
    return random.Random(row).randbytes(450 + row % 100)


def write_rows(path: Path, group_sizes: Sequence[int], **options: object) -> Path:
    """Values and their row numbers in row groups of these sizes, in pages of about four rows."""
    first = 0
    schema = pa.schema([("value", pa.binary()), ("row", pa.int64())])
    pages = {"data_page_size": 2000, "write_batch_size": 2, "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(path, schema, **(pages | options)) as writer:
        for size in group_sizes:
            rows = range(first, first + size)
            writer.write_table(pa.table([[value_of(row) for row in rows], list(rows)], schema=schema))
            first += size
    return path


def open_cursor(path: Path, largest_batch: int = 32) -> ParquetCursor:
    return ParquetCursor(str(path), read_layout(str(path)).signature, ["value", "row"], largest_batch)


def taken(cursor: ParquetCursor, row: int) -> tuple[bytes, int]:
    (values,) = cursor.take(row).to_pylist()
    return values["value"], values["row"]


def failure(cursor: ParquetCursor, row: int) -> ImageError | None:
    """How taking a row fails; its value must be right if it doesn't."""
    try:
        assert taken(cursor, row) == (value_of(row), row)
    except ImageError as error:
        return error
    return None


def shuffled_nearby(rows: Sequence[int], distance: int, seed: int) -> list[int]:
    """The rows in about their order: none comes more than a distance early."""
    generator = random.Random(seed)
    return sorted(rows, key=lambda row: row + generator.uniform(0, distance))


@st.composite
def readings(draw: st.DrawFn) -> tuple[list[int], list[list[int]], int, int]:
    """Sizes of row groups, shards in order of their reading, with the rows that are read; batch size; threads."""
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))
    shard_size = draw(st.integers(1, 70))
    rows = range(sum(sizes))
    shards = [list(rows[start : start + shard_size]) for start in range(0, len(rows), shard_size)]
    kept = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)) | st.just([True] * len(rows)))
    shards = [[row for row in shard if kept[row]] for shard in draw(st.permutations(shards))]
    return sizes, shards, draw(st.integers(1, 40)), draw(st.sampled_from([1, 3]))


@settings(max_examples=40, deadline=None)
@given(readings(), st.integers(0, 100), st.booleans(), st.integers(0, 1000))
def test_every_row_is_the_right_one(
    reading: tuple[list[int], list[list[int]], int, int], distance: int, announced: bool, seed: int
) -> None:
    sizes, shards, largest_batch, threads = reading
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool:
        cursor = open_cursor(write_rows(Path(folder) / "rows.parquet", sizes), largest_batch)
        for shard in shards:
            if announced:
                cursor.announce(shard)
            order = shuffled_nearby(shard, distance, seed)
            for row, found in zip(order, pool.map(lambda row: taken(cursor, row), order), strict=True):
                assert found == (value_of(row), row)
        cursor.close()


def test_shards_in_order_read_each_row_group_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[list[int]] = []
    iter_batches = pq.ParquetFile.iter_batches

    def counting(self: pq.ParquetFile, *args: object, **options: object) -> object:
        begun.append(options["row_groups"])  # type: ignore[arg-type]
        return iter_batches(self, *args, **options)

    cursor = open_cursor(write_rows(tmp_path / "rows.parquet", [100, 1, 200, 50]))
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    with ThreadPoolExecutor(4) as pool:
        for start in range(0, 351, 39):
            shard = range(start, min(start + 39, 351))
            cursor.announce(shard)
            assert set(pool.map(lambda row: failure(cursor, row), shuffled_nearby(shard, 20, start))) == {None}
    assert begun == [[0], [1], [2], [3]]


def test_a_row_may_be_taken_again(tmp_path: Path) -> None:
    cursor = open_cursor(write_rows(tmp_path / "rows.parquet", [50]))
    assert [failure(cursor, row) for row in (40, 3, 3, 49, 0)] == [None] * 5


def test_a_row_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    cursor = open_cursor(write_rows(tmp_path / "rows.parquet", [5]))
    assert [kind_of(cursor, row) for row in (5, -1)] == [ErrorKind.UNREADABLE] * 2


def kind_of(cursor: ParquetCursor, row: int) -> ErrorKind | None:
    error = failure(cursor, row)
    return error.kind if error else None


def write_large_values(path: Path, number: int, num_bytes: int) -> Path:
    """One row group of equally large values, which is not compressed."""
    value = random.Random(0).randbytes(num_bytes)
    table = pa.table({"value": [value] * number, "row": range(number)})
    pq.write_table(table, path, use_dictionary=False, compression="none", write_batch_size=8)
    assert path.stat().st_size > number * num_bytes
    return path


def test_memory_stays_that_of_some_batches_of_a_large_row_group(tmp_path: Path) -> None:
    path = write_large_values(tmp_path / "rows.parquet", 160, 250_000)
    cursor, before, most = open_cursor(path), pa.total_allocated_bytes(), 0
    for shard in range(0, 160, 40):
        cursor.announce(range(shard, shard + 40))
        for row in range(shard, shard + 40):
            cursor.take(row)
            most = max(most, pa.total_allocated_bytes() - before)
    assert 0 < most < 20_000_000


def test_rows_that_are_announced_and_never_taken_are_not_kept_for_ever(tmp_path: Path) -> None:
    path = write_large_values(tmp_path / "rows.parquet", 600, 20_000)
    cursor, before = open_cursor(path, largest_batch=4), pa.total_allocated_bytes()
    cursor.announce(range(600))
    assert cursor.take(599).column("row").to_pylist() == [599]
    assert 0 < pa.total_allocated_bytes() - before < 5_000_000
    assert [cursor.take(row).column("row").to_pylist() for row in (0, 300, 598)] == [[0], [300], [598]]


def damage(path: Path, group: int, share: float, column: int = 0, *, flipped: int = 4) -> None:
    """Flip bytes of a column chunk of a row group."""
    chunk = pq.read_metadata(path).row_group(group).column(column)
    place = chunk.data_page_offset + min(
        int(chunk.total_compressed_size * share), chunk.total_compressed_size - flipped
    )
    with path.open("r+b") as file:
        file.seek(place)
        old = file.read(flipped)
        file.seek(place)
        file.write(bytes(byte ^ 0xFF for byte in old))


@pytest.mark.parametrize("threads", [1, 4])
def test_damage_costs_the_rows_of_its_row_group_from_its_page_on(tmp_path: Path, threads: int) -> None:
    path = write_rows(tmp_path / "rows.parquet", [40, 40, 40], write_page_checksum=True)
    damage(path, 1, 0.5)
    cursor = open_cursor(path)
    with ThreadPoolExecutor(threads) as pool:
        cursor.announce(range(120))
        failures = list(pool.map(lambda row: failure(cursor, row), range(120)))
    kinds = [error.kind if error else None for error in failures]
    first = kinds.index(ErrorKind.CORRUPT)
    assert 40 + 12 <= first <= 40 + 28
    assert kinds == [None] * first + [ErrorKind.CORRUPT] * (80 - first) + [None] * 40
    assert str(failures[first]).startswith("the Parquet file is damaged here: could not verify page integrity")


def test_a_page_header_of_nonsense_is_damage(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [10, 10])
    damage(path, 0, 0, flipped=12)
    cursor = open_cursor(path)
    assert [kind_of(cursor, row) for row in range(20)] == [ErrorKind.CORRUPT] * 10 + [None] * 10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.999), st.integers(0, 1)), max_size=3))
def test_whatever_is_damaged_each_row_is_right_or_corrupt(places: list[tuple[int, float, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write_rows(Path(folder) / "rows.parquet", [15, 15, 15], write_page_checksum=True)
        for group, share, column in places:
            damage(path, group, share, column, flipped=2)
        cursor = open_cursor(path)
        cursor.announce(range(45))
        kinds = [kind_of(cursor, row) for row in range(45)]
    sound = set(range(3)) - {group for group, _, _ in places}
    assert {kinds[row] for group in sound for row in range(group * 15, group * 15 + 15)} <= {None}
    assert set(kinds) <= {None, ErrorKind.CORRUPT}


def test_a_file_that_is_gone_is_not_found(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [10])
    cursor = open_cursor(path)
    path.unlink()
    cursor.announce(range(10))
    assert [kind_of(cursor, row) for row in range(10)] == [ErrorKind.NOT_FOUND] * 10


def test_errors_of_many_rows_are_not_one_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [10], write_page_checksum=True)
    damage(path, 0, 0.1)
    damaged = open_cursor(path)
    gone = ParquetCursor(str(tmp_path / "nowhere.parquet"), "", ["value"])
    for cursor in (damaged, gone):
        errors = [failure(cursor, row) for row in (9, 9, 9)]
        assert None not in errors
        assert len({id(error) for error in errors}) == 3


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [10])
    cursor = open_cursor(path)
    write_rows(path, [9, 2])
    assert str(failure(cursor, 3)) == "the Parquet file changed since it was listed"
    write_rows(path, [10])
    cursor.announce([3])
    assert failure(cursor, 3) is None


def test_a_file_without_permission_is_unreadable(users_folder: Path) -> None:
    path = write_rows(users_folder / "rows.parquet", [10])
    cursor = open_cursor(path)
    path.chmod(0)
    assert kind_of(cursor, 0) is ErrorKind.UNREADABLE
    path.chmod(0o600)
    cursor.announce([0])
    assert kind_of(cursor, 0) is None


def test_a_file_that_cannot_be_opened_at_this_moment_may_be_announced_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> pa.NativeFile:
        raise CapstanError("can't be opened") from OSError(errno.EIO, "Input/output error")

    cursor = open_cursor(write_rows(tmp_path / "rows.parquet", [10]))
    with monkeypatch.context() as patched:
        patched.setattr("caption_core.archive.sources.parquet_file.open_archive_file", refuse)
        with pytest.raises(ImageError, match="the Parquet file can't be read: Input/output error"):
            cursor.announce(range(10))
        assert [kind_of(cursor, row) for row in range(10)] == [ErrorKind.UNREADABLE] * 10
    cursor.announce(range(10))
    assert [kind_of(cursor, row) for row in range(10)] == [None] * 10


def test_a_file_that_is_cut_off_while_it_is_read_gives_rows_of_errors(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.parquet", [20, 20])
    cursor = open_cursor(path)
    assert failure(cursor, 0) is None
    os.truncate(path, 100)
    assert kind_of(cursor, 39) in (ErrorKind.CORRUPT, ErrorKind.UNREADABLE)


def test_a_closed_cursor_opens_again(tmp_path: Path) -> None:
    cursor = open_cursor(write_rows(tmp_path / "rows.parquet", [20]))
    assert failure(cursor, 5) is None
    cursor.close()
    assert failure(cursor, 6) is None


def test_a_store_that_refuses_for_a_while_is_not_taken_for_damage(tmp_path: Path, s3: S3Server) -> None:
    bucket = s3.new_bucket()
    address = bucket.put("rows.parquet", write_rows(tmp_path / "rows.parquet", [20, 20]).read_bytes())
    cursor = ParquetCursor(address, read_layout(address).signature, ["value", "row"], largest_batch=4)
    assert failure(cursor, 0) is None
    bucket.deny()
    error = failure(cursor, 30)
    assert error is not None
    assert error.kind is ErrorKind.UNREADABLE
    assert str(error).startswith("the Parquet file can't be read: access denied")
    bucket.allow()
    cursor.announce(range(20, 40))
    assert [failure(cursor, row) for row in range(20, 40)] == [None] * 20

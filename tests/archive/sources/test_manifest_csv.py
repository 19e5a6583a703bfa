"""Comma- and tab-separated manifests: every record is a row, whatever it is worth."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.manifest_csv import CsvTable
from caption_core.archive.sources.manifest_rows import WantedColumns
from caption_core.errors import UsageError
from tests.builders import write_file

Row = tuple[int, "bytes | str"]


def rows(path: Path, data: bytes, delimiter: str = ",", column: str = "path") -> list[Row]:
    """Number and path of each row; the fault in words where there is none."""
    found: list[Row] = []
    for chunk in CsvTable(str(write_file(path, data)), delimiter).chunks(WantedColumns(column)):
        numbers, paths = chunk.numbers.to_pylist(), chunk.paths.to_pylist()
        assert {index for index, value in enumerate(paths) if value is None} == set(chunk.faults)
        texts = [chunk.faults.get(index, value) for index, value in enumerate(paths)]
        found += zip(numbers, texts, strict=True)
    return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.csv"


def test_rows_are_found_by_the_header(file: Path) -> None:
    assert rows(file, b"id,path\n1,a.jpg\r\n2,b c.jpg\n") == [(2, b"a.jpg"), (3, b"b c.jpg")]
    assert rows(file, b"id\tpath\n1\ta,b.jpg", "\t") == [(2, b"a,b.jpg")]
    assert rows(file, b'\xef\xbb\xbf"path", id \na.jpg,1') == [(2, b"a.jpg")]
    assert CsvTable(str(file), ",").columns().names == ["path", "id"]


def test_quoted_cells_may_hold_anything(file: Path) -> None:
    data = b'path,text\n"a,b"".jpg","two\nlines"\nc.jpg,"x\r\n\r\ny"\nd.jpg,z\n'
    assert rows(file, data) == [(2, b'a,b".jpg'), (4, b"c.jpg"), (7, b"d.jpg")]


def test_blank_lines_are_left_out_and_counted(file: Path) -> None:
    assert rows(file, b"\n\npath\n\na\n\r\nb\n\n") == [(5, b"a"), (7, b"b")]


def test_rows_without_a_path_say_so(file: Path) -> None:
    no_path = "it names no path"
    assert rows(file, b'path,x\n,1\n"",2\n  ,3\n') == [(2, no_path), (3, no_path), (4, no_path)]
    assert rows(file, b'path\n""\na\n') == [(2, no_path), (3, b"a")]


def test_rows_with_other_numbers_of_cells_say_so(file: Path) -> None:
    assert rows(file, b"path,x\na\nb,1\nc,1,2\n") == [
        (2, "number of cells: 1, and 2 in the header"),
        (3, b"b"),
        (4, "number of cells: 3, and 2 in the header"),
    ]


NEVER_CLOSED = "a quote in it is opened and never closed"


def test_a_quote_that_never_ends_costs_its_own_line_alone(file: Path) -> None:
    assert rows(file, b'path,x\na,1\nb,"2\nc,3\nd,4\n') == [(2, b"a"), (3, NEVER_CLOSED), (4, b"c"), (5, b"d")]


def test_a_quote_that_ends_in_another_row_costs_its_own_line_alone(file: Path) -> None:
    assert rows(file, b'path,x\na,"1\nb,2\nc,"3"\nd,4\n') == [
        (2, "',' expected after '\"'"),
        (3, b"b"),
        (4, b"c"),
        (5, b"d"),
    ]
    assert rows(file, b'path,x\na,"1\nb,2\nc,"",3\nd,4\n')[1:] == [
        (3, b"b"),
        (4, "number of cells: 3, and 2 in the header"),
        (5, b"d"),
    ]


def test_a_quote_that_never_ends_costs_its_own_line_alone_in_a_large_file(file: Path) -> None:
    lines = [f"{number:08d}.jpg,{'x' * 80}" for number in range(30_000)]
    lines[5] = lines[5].replace(",", ',"')
    found = rows(file, "\n".join(["path,x", *lines]).encode())
    assert len(found) == 30_000
    assert [index for index, (_, path) in enumerate(found) if isinstance(path, str)] == [5]
    assert found[5] == (7, "a quote in it is opened and never closed, or a cell is too long")
    assert found[-1] == (30_001, b"00029999.jpg")


def test_a_record_of_endless_cells_is_bounded(file: Path) -> None:
    cell = '"' + "x" * 100_000 + '\n",'
    data = ("path,x\n" + cell * 20 + "\nb,1\n").encode()
    found = rows(file, data)
    assert found[0] == (2, "a quote in it is opened and never closed, or it is too long")
    assert found[-1] == (23, b"b")


def test_lines_that_are_too_long_are_rows(file: Path) -> None:
    data = b"path,x\na,1\n" + b"y" * (2 << 20) + b'\nb,"2\n' + b"z" * (2 << 20) + b"\nc,3\n"
    too_long = "longer than 1,048,576 bytes"
    assert rows(file, data) == [(2, b"a"), (3, too_long), (4, too_long), (5, too_long), (6, b"c")]


def test_a_carriage_return_in_the_middle_of_a_cell_is_a_fault(file: Path) -> None:
    assert rows(file, b"path,x\na\rb,1\nc,2\n") == [(2, "a carriage return stands in the middle of it"), (3, b"c")]


def test_bytes_that_are_not_utf8_stay_what_they_are(file: Path) -> None:
    assert rows(file, b"path,x\ncaf\xe9.jpg,1\nb,\xff\n") == [(2, b"caf\xe9.jpg"), (3, b"b")]


def test_ids_and_carried_values_come_along(file: Path) -> None:
    write_file(
        file, 'path,key,größe,x\na,k1,"1, 2",\nb,,\xff,y\nc,k3\n'.encode("latin-1").replace(b"\xf6\xdf", "öß".encode())
    )
    (chunk,) = CsvTable(str(file), ",").chunks(WantedColumns("path", "key", ("größe", "x")))
    assert chunk.ids is not None
    assert chunk.carried is not None
    assert chunk.ids.to_pylist() == ["k1", "", None]
    assert [value and json.loads(value) for value in chunk.carried.to_pylist()] == [
        {"größe": "1, 2", "x": ""},
        {"größe": r"\xff", "x": "y"},
        None,
    ]


def test_without_a_header_it_is_no_manifest(file: Path) -> None:
    for data in (b"", b"\n\n"):
        write_file(file, data)
        with pytest.raises(UsageError, match=r"list\.csv: empty, without a header"):
            CsvTable(str(file), ",").columns()
    write_file(file, b'a,"b\n')
    with pytest.raises(UsageError, match=f"line 1 can't be its header: {NEVER_CLOSED}"):
        CsvTable(str(file), ",").columns()


CELLS = st.text(st.sampled_from('ab,"\t\n\r é'), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(table=st.lists(st.tuples(CELLS, CELLS), max_size=8))
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerows([("path", "x"), *table])
    found = rows(tmp_path_factory.mktemp("csv") / "list.csv", buffer.getvalue().encode())
    expected = [path.encode() if path.strip() else "it names no path" for path, _ in table]
    assert [path for _, path in found] == expected


@settings(max_examples=100, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\xff", b"\0", b" "]), max_size=40).map(b"".join)
)
def test_whatever_stands_in_a_file_each_line_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    found = rows(tmp_path_factory.mktemp("csv") / "list.csv", b"path,x\n" + data + b"\nlast.jpg,1\n")
    numbers = [number for number, _ in found]
    assert numbers == sorted(set(numbers))
    if b'"' not in data:
        lines = data.split(b"\n")
        assert numbers[:-1] == [number for number, line in enumerate(lines, start=2) if line.strip(b"\r")]
    assert found[-1][1] == b"last.jpg"

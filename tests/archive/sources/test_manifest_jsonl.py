"""Manifests of JSON lines: every line is a row, whatever it is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.manifest_jsonl import JsonlTable
from caption_core.archive.sources.manifest_rows import RowChunk, WantedColumns
from caption_core.errors import UsageError
from tests.builders import write_file


def chunk_of(path: Path, data: bytes, wanted: WantedColumns) -> RowChunk:
    (chunk,) = JsonlTable(str(write_file(path, data))).chunks(wanted)
    return chunk


def rows(path: Path, data: bytes) -> list[tuple[int, bytes | str]]:
    """Number and path of each row; the fault in words where there is none."""
    chunk = chunk_of(path, data, WantedColumns("path"))
    paths = [chunk.faults.get(index, path) for index, path in enumerate(chunk.paths.to_pylist())]
    return list(zip(chunk.numbers.to_pylist(), paths, strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "list.jsonl"


def test_each_line_is_an_object(file: Path) -> None:
    data = b'\xef\xbb\xbf{"path": "a.jpg"}\r\n\n{"x": 1, "path": "\\u00e9\\n.jpg"}\n  \n{"path": "\xc3\xa9"}'
    assert rows(file, data) == [(1, b"a.jpg"), (3, "é\n.jpg".encode()), (5, "é".encode())]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"not json", "it is not JSON"),
        (b'{"path": "a.jpg"', "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"9" * 5000, "it is no JSON object"),
        (b'{"path": "caf\xe9"}', "it is not UTF-8"),
        (b'["a.jpg"]', "it is no JSON object"),
        (b'"a.jpg"', "it is no JSON object"),
        (b"null", "it is no JSON object"),
        (b"{}", "it names no path"),
        (b'{"path": null}', "it names no path"),
        (b'{"path": ""}', "it names no path"),
        (b'{"path": " \\t"}', "it names no path"),
        (b'{"path": 7}', "its path is no text"),
        (b'{"path": ["a"]}', "its path is no text"),
        (b'{"path": "\\ud800.jpg"}', "its path has half a Unicode character"),
        (b'{"path": "' + b"x" * (1 << 20) + b'"}', "longer than 1,048,576 bytes"),
    ],
)
def test_a_line_that_names_no_path_says_why(file: Path, line: bytes, fault: str) -> None:
    found = rows(file, b'{"path": "a"}\n' + line + b'\n{"path": "b"}')
    assert found[0] == (1, b"a")
    assert found[1][0] == 2
    # Whether very long numbers are JSON depends on the version of Python.
    assert found[1][1] in (fault, "it is not JSON")
    assert found[2] == (3, b"b")


def test_columns_are_the_keys_of_the_first_objects(file: Path) -> None:
    objects = [{"path": "a"}, {"size": 1, "path": "b"}, *[{}] * 98, {"late": 1}]
    write_file(file, b"damaged\n" + "\n".join(map(json.dumps, objects)).encode())
    assert JsonlTable(str(file)).columns().names == ["path", "size"]


def test_keys_with_half_a_character_are_no_columns(file: Path) -> None:
    write_file(file, b'{"\\ud800": 1, "path": "a"}')
    assert JsonlTable(str(file)).columns().names == ["path"]
    write_file(file, b'{"\\ud800": 1}')
    assert JsonlTable(str(file)).columns().names == []


@pytest.mark.parametrize("data", [b"", b"\n", b"[1]\nx\n", b"{}\n"])
def test_without_an_object_it_is_no_manifest(file: Path, data: bytes) -> None:
    write_file(file, data)
    with pytest.raises(UsageError, match=r"list\.jsonl: no line of it is a JSON object"):
        JsonlTable(str(file)).columns()


def test_ids_and_carried_values_are_text_or_json(file: Path) -> None:
    values: list[Any] = ["k", 7, None, True, {"a": [1, "é"]}, "\udc80", ""]
    data = "\n".join(json.dumps({"path": "a", "v": value}) for value in values) + '\n{"path": "a"}\nnothing'
    chunk = chunk_of(file, data.encode(), WantedColumns("path", "v", ("v", "w")))
    assert chunk.ids is not None
    assert chunk.carried is not None
    expected = ["k", "7", None, "true", '{"a": [1, "é"]}', r"\udc80", "", None]
    assert chunk.ids.to_pylist() == [*expected, None]
    carried = [value and json.loads(value) for value in chunk.carried.to_pylist()]
    assert carried == [*({"v": value, "w": None} for value in expected), None]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "x"]), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=8), max_size=6))
def test_whatever_stands_in_a_file_each_line_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    data = b"\n".join([b'{"path": "first"}', *lines, b'{"path": "last"}'])
    found = rows(tmp_path_factory.mktemp("jsonl") / "list.jsonl", data)
    assert [number for number, _ in found] == [
        number for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()
    ]
    assert found[-1][1] == b"last"

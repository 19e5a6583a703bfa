"""Manifests of plain text."""

from __future__ import annotations

from pathlib import Path

from caption_core.archive.sources.manifest_rows import WantedColumns
from caption_core.archive.sources.manifest_txt import TxtTable
from tests.builders import write_file


def test_every_line_that_is_not_blank_is_a_path(tmp_path: Path) -> None:
    data = b'\xef\xbb\xbfa.jpg\r\n\n b c.jpg \n# d\n\t\ncaf\xe9,"e"\n' + b"x" * (2 << 20) + b"\nlast\r"
    table = TxtTable(str(write_file(tmp_path / "list.txt", data)))
    (chunk,) = table.chunks(WantedColumns(""))
    assert table.columns().names == []
    assert chunk.numbers.to_pylist() == [1, 3, 4, 6, 7, 8]
    assert chunk.paths.to_pylist() == [b"a.jpg", b" b c.jpg ", b"# d", b'caf\xe9,"e"', None, b"last"]
    assert chunk.faults == {4: "longer than 1,048,576 bytes"}
    assert (chunk.ids, chunk.carried) == (None, None)

"""Several inputs as one source: order, names, columns, and archives that go away."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.source import ImageReader, ImageSource
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.builders import write_file

CAP = 1 << 20


def folders(root: Path, *names: str) -> CombinedSource:
    """A source of folders, each with its own a.png."""
    for name in names:
        write_file(root / name / "a.png", name.encode())
    return CombinedSource(tuple((name, FolderSource.at(root / name)) for name in names))


def refs(source: ImageSource) -> list[ImageRef]:
    return [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]


def test_one_input_keeps_its_ids(tmp_path: Path) -> None:
    assert [ref.image_id for ref in refs(folders(tmp_path, "one"))] == ["a.png"]


def test_ids_of_several_inputs_begin_with_their_names_and_each_is_read_by_its_own(tmp_path: Path) -> None:
    source = pickle.loads(pickle.dumps(folders(tmp_path, "one", "other", "third")))
    found = refs(source)
    assert [ref.image_id for ref in found] == ["one/a.png", "other/a.png", "third/a.png"]
    reader = source.open_reader()
    reader.begin(found)
    assert [reader.read(ref, CAP).data for ref in reversed(found)] == [b"third", b"other", b"one"]
    reader.close()


def test_an_archive_that_is_gone_fails_its_images_alone(tmp_path: Path) -> None:
    source = folders(tmp_path, "one", "other", "third")
    found = refs(source)
    reader = source.open_reader()
    shutil.rmtree(tmp_path / "other")
    reader.begin(found)
    results = [reader.read(ref, CAP).data for ref in found]
    assert results[0::2] == [b"one", b"third"]
    assert isinstance(results[1], ImageError)
    assert results[1].kind is ErrorKind.UNREADABLE
    assert "other" in str(results[1])


def test_a_machine_that_sees_none_of_it_is_refused(tmp_path: Path) -> None:
    source = folders(tmp_path, "one", "other")
    shutil.rmtree(tmp_path / "one")
    with pytest.raises(CapstanError, match="doesn't see the input folder"):
        source.open_reader()


class Carrying(FolderSource):
    """A folder that carries one column along."""

    kind: pa.DataType = pa.string()

    def carried(self) -> pa.Schema:
        return pa.schema([pa.field("label", self.kind)])

    def open_reader(self) -> ImageReader:
        raise NotImplementedError


class CarryingNumbers(Carrying):
    kind = pa.int64()


def test_carried_columns_are_those_of_all_inputs(tmp_path: Path) -> None:
    plain, one = FolderSource(tmp_path), Carrying(tmp_path)
    assert CombinedSource((("plain", plain), ("a", one), ("b", one))).carried().names == ["label"]
    with pytest.raises(UsageError, match="column 'label' is string in a and int64 in b"):
        CombinedSource((("a", one), ("b", CarryingNumbers(tmp_path)))).carried()

"""Several inputs as one source: order, names, columns, and archives that go away."""

from __future__ import annotations

import errno
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.sources.archive_files import open_archive_file
from caption_core.archive.sources.combined import CombinedSource
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_images import ParquetImages
from caption_core.archive.sources.source import ImageReader, ImageSource, carried_in
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


def test_an_archive_that_is_gone_fails_its_images_alone(tmp_path: Path, pauses: list[float]) -> None:
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
    assert pauses == []


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made; none of them is waited for."""
    made: list[float] = []
    monkeypatch.setattr("caption_core.archive.patience.time", SimpleNamespace(sleep=made.append))
    return made


@dataclass(frozen=True, kw_only=True)
class Refusing(FolderSource):
    """Is refused so many times when it is opened."""

    left: list[int] = field(default_factory=lambda: [0])
    location: str = ""

    def open_reader(self) -> ImageReader:
        self.left[0] -= 1
        if self.left[0] >= 0:
            raise CapstanError(f"{self.root}: can't be opened: refused") from OSError(errno.EIO, "refused")
        return super().open_reader()

    def locations(self) -> Sequence[str]:
        return [self.location] if self.location else super().locations()


def with_refusing(root: Path, location: str = "") -> tuple[CombinedSource, dict[str, list[int]]]:
    """Six folders of an image each, of which b and c refuse as often as their numbers say."""
    whole = folders(root, *"abcdef")
    left = {name: [0] for name in "bc"}
    sources = ((name, Refusing(root / name, left=left[name], location=location)) for name in "bc")
    return CombinedSource((whole.sources[0], *sources, *whole.sources[3:])), left


def test_an_archive_that_refuses_for_a_moment_is_waited_for(tmp_path: Path, pauses: list[float]) -> None:
    source, left = with_refusing(tmp_path)
    left["b"][0], left["c"][0] = 2, 1
    found, reader = refs(source), source.open_reader()
    reader.begin(found)
    assert [reader.read(ref, CAP).data for ref in found] == [name.encode() for name in "abcdef"]
    assert pauses == [1.0, 5.0, 20.0]


@pytest.mark.parametrize(
    ("location", "kind"), [("", ErrorKind.UNREADABLE), ("s3://bucket/photos.tar", ErrorKind.DOWNLOAD_FAILED)]
)
def test_archives_that_refuse_to_the_end_fail_their_images_of_this_shard(
    tmp_path: Path, location: str, kind: ErrorKind, pauses: list[float]
) -> None:
    source, left = with_refusing(tmp_path, location)
    left["b"][0] = left["c"][0] = 99
    found, reader = refs(source), source.open_reader()
    reader.begin(found)
    results = [reader.read(ref, CAP).data for ref in found]
    kinds = [result.kind if isinstance(result, ImageError) else result for result in results]
    assert kinds == [b"a", kind, kind, b"d", b"e", b"f"]
    assert pauses == [1.0, 5.0, 20.0], "not for each of them"
    beats: list[None] = []
    reader.begin(found, beat=lambda: beats.append(None))
    assert len(pauses) == 3, "nor for the next shard again"
    assert len(beats) >= 6, "at each of them"
    left["b"][0] = left["c"][0] = 0
    reader.begin(found)
    assert [reader.read(ref, CAP).data for ref in found] == [name.encode() for name in "abcdef"]


@pytest.mark.parametrize(("times", "num_read"), [(3, 10), (99, 0)])
def test_a_parquet_file_that_cannot_be_opened_is_waited_for_too(
    tmp_path: Path, times: int, num_read: int, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": [b"an image"] * 10}), path)
    source = CombinedSource((("images", ParquetImages.at(str(path), InputOptions())),))
    found, reader = refs(source), source.open_reader()
    left = [times]

    def refusing(location: str) -> pa.NativeFile:
        left[0] -= 1
        if left[0] >= 0:
            raise CapstanError("can't be opened") from OSError(errno.EIO, "Input/output error")
        return open_archive_file(location)

    monkeypatch.setattr("caption_core.archive.sources.parquet_file.open_archive_file", refusing)
    reader.begin(found)
    results = [reader.read(ref, CAP).data for ref in found]
    assert [result for result in results if result == b"an image"] == [b"an image"] * num_read
    assert {result.kind for result in results if isinstance(result, ImageError)} <= {ErrorKind.UNREADABLE}
    assert pauses == [1.0, 5.0, 20.0]


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

    def carried_in(self, ref: ImageRef) -> Mapping[str, str]:
        return {"label": f"of {ref.image_id}"}

    def open_reader(self) -> ImageReader:
        raise NotImplementedError


class CarryingNumbers(Carrying):
    kind = pa.int64()


def test_carried_columns_are_those_of_all_inputs(tmp_path: Path) -> None:
    plain, one = FolderSource(tmp_path), Carrying(tmp_path)
    assert CombinedSource((("plain", plain), ("a", one), ("b", one))).carried().names == ["label"]
    with pytest.raises(UsageError, match="column 'label' is string in a and int64 in b"):
        CombinedSource((("a", one), ("b", CarryingNumbers(tmp_path)))).carried()


def test_each_source_tells_what_its_references_carry(tmp_path: Path) -> None:
    source = CombinedSource((("plain", FolderSource(tmp_path)), ("a", Carrying(tmp_path))))
    refs_of_both = [ImageRef("plain/x.png", "", source=0), ImageRef("a/x.png", "", source=1)]
    assert [carried_in(source, ref) for ref in refs_of_both] == [{}, {"label": "of a/x.png"}]

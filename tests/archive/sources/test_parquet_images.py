"""Parquet files of images: what is listed, which ids it gets, what each row is read as."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.archive.refs import REF_SCHEMA, batch_to_refs
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_images import ParquetImages, holds_images
from caption_core.archive.sources.source import SourceImage
from caption_core.archive.storage import Storage
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.builders import colour_of, plain
from tests.s3_server import S3Server

CAP = 1 << 20
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def source_of(path: Path, **options: Any) -> ParquetImages:
    # Through pickle, as it reaches the workers.
    source: ParquetImages = pickle.loads(pickle.dumps(ParquetImages.at(str(path), InputOptions(**options))))
    return source


def listed(source: ParquetImages) -> list[ImageRef]:
    batches = list(source.list_refs())
    assert all(batch.schema == REF_SCHEMA for batch in batches)
    return [ref for batch in batches for ref in batch_to_refs(batch)]


def read_all(source: ParquetImages, max_bytes: int = CAP) -> list[SourceImage]:
    reader, refs = source.open_reader(), listed(source)
    reader.begin(refs)
    images = [reader.read(ref, max_bytes) for ref in refs]
    reader.close()
    return images


def shown(images: Sequence[SourceImage]) -> list[bytes | str]:
    """The bytes of each image, or how it failed."""
    return [f"{i.data.kind.value}: {i.data}" if isinstance(i.data, ImageError) else i.data for i in images]


def ids(path: Path, **options: Any) -> list[str]:
    return [ref.image_id for ref in listed(source_of(path, **options))]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()], ids=str)
def test_images_in_a_column_of_bytes(tmp_path: Path, kind: pa.DataType) -> None:
    images = [plain(colour_of(index)) for index in range(5)]
    path = tmp_path / "photos of me.parquet"
    try:
        write_table(path, {"n": range(5), "photo": pa.array(images, kind)})
    except pa.ArrowNotImplementedError:
        pytest.skip(f"this PyArrow knows no Parquet files of {kind}")
    source = source_of(path)
    refs = listed(source)
    assert refs[3] == ImageRef("row-000000003", f"file://{tmp_path}/photos%20of%20me.parquet#row=3", -1, "3")
    assert [ref.image_id for ref in refs] == [f"row-{index:09d}" for index in range(5)]
    assert shown(read_all(source)) == images


def test_images_in_the_structs_of_hugging_face_datasets(tmp_path: Path) -> None:
    values = [
        {"bytes": b"first", "path": "a.jpg"},
        None,
        {"bytes": None, "path": "/etc/passwd"},
        {"bytes": None, "path": None},
        {"bytes": b"", "path": ""},
        {"bytes": b"last", "path": None},
    ]
    path = write_table(tmp_path / "t.parquet", {"image": pa.array(values, STRUCT), "label": range(6)}, row_group_size=4)
    assert ids(path) == ["a.jpg", "row-000000001", "/etc/passwd", "row-000000003", "row-000000004", "row-000000005"]
    assert shown(read_all(source_of(path))) == [
        b"first",
        "empty: null",
        "unreadable: only a path, no bytes",
        "empty: null",
        "empty: zero bytes",
        b"last",
    ]


def test_a_struct_without_a_path_is_read_too(tmp_path: Path) -> None:
    kind = pa.struct([("other", pa.int8()), ("bytes", pa.large_binary())])
    path = write_table(tmp_path / "t.parquet", {"x": pa.array([{"bytes": b"a", "other": 1}, {"other": 2}], kind)})
    assert ids(path) == ["row-000000000", "row-000000001"]
    assert shown(read_all(source_of(path))) == [b"a", "empty: null"]


def test_null_and_empty_cells_are_empty(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", {"x": pa.array([None, b"", b"a"])})
    assert shown(read_all(source_of(path))) == ["empty: null", "empty: zero bytes", b"a"]


def test_larger_values_than_allowed_are_not_read(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", {"x": [b"1234", b"12345"]})
    assert shown(read_all(source_of(path), 4)) == [b"1234", "too_many_bytes: 5 bytes, more than the 4 allowed"]


def test_ids_are_those_of_the_id_column_and_else_the_paths(tmp_path: Path) -> None:
    images = pa.array([{"bytes": b"x", "path": path} for path in ("a", "b", "", None)], STRUCT)
    path = write_table(tmp_path / "t.parquet", {"image": images, "key": ["k", "", None, None], "n": [7, 8, 9, None]})
    assert ids(path, id_column="key") == ["k", "b", "row-000000002", "row-000000003"]
    assert ids(path, id_column="n") == ["7", "8", "9", "row-000000003"]


def test_columns_whose_names_have_dots_are_told_from_children(tmp_path: Path) -> None:
    images = pa.array([{"bytes": b"x", "path": "inner"}], STRUCT)
    columns = {"image": images, "image.path": ["outer"], "image.bytes": [17]}
    path = write_table(tmp_path / "t.parquet", columns)
    assert ids(path) == ["inner"]
    assert ids(path, id_column="image.path") == ["outer"]
    assert shown(read_all(source_of(path))) == [b"x"]


def test_the_image_column_must_be_clear(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", {"a": [b"1"], "b": [b"2"]})
    with pytest.raises(UsageError, match="Name one of a, b"):
        source_of(path)
    assert shown(read_all(source_of(path, image_column="b"))) == [b"2"]
    with pytest.raises(UsageError, match="no column 'c'"):
        source_of(path, image_column="c")


def test_other_columns_are_carried_along_whatever_becomes_of_the_image(tmp_path: Path) -> None:
    columns = {"image": pa.array([b"x", None, b"too long"]), "label": [1, 2, None], "tags": [["a"], [], None]}
    path = write_table(tmp_path / "t.parquet", columns)
    source = source_of(path, carry=(("label", "label"), ("tags", "source_tags")))
    assert source.carried() == pa.schema([("label", pa.int64()), ("source_tags", pa.list_(pa.string()))])
    images = read_all(source, 5)
    table = pa.Table.from_pylist([dict(image.carried) for image in images], schema=source.carried())
    assert table.to_pydict() == {"label": [1, 2, None], "source_tags": [["a"], [], None]}
    assert [isinstance(image.data, ImageError) for image in images] == [False, True, True]


def test_wrong_carried_columns_are_usage_errors(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", {"image": [b"x"], "caption": ["a dog"]})
    with pytest.raises(UsageError, match="no column 'label' among image"):
        source_of(path, carry=(("label", "label"),))
    with pytest.raises(UsageError, match="caption=source_caption"):
        source_of(path, carry=(("caption", "caption"),))


def damage(path: Path, value: bytes) -> None:
    """Flip a bit of a value that is there once."""
    data = path.read_bytes()
    assert data.count(value) == 1
    path.write_bytes(data.replace(value, bytes([value[0] ^ 1]) + value[1:]))


def write_groups(path: Path) -> Path:
    """Four row groups of five rows: images of about 1 kB in pages of their own, ids and labels."""
    images = [bytes([row]) * 1000 for row in range(20)]
    columns = {"image": images, "key": [f"k{row}" for row in range(20)], "label": [f"label {row}" for row in range(20)]}
    options: dict[str, Any] = {
        "use_dictionary": False,
        "data_page_size": 1,
        "write_batch_size": 1,
        "write_statistics": False,
    }
    return write_table(path, columns, row_group_size=5, compression="none", write_page_checksum=True, **options)


def test_damaged_images_are_corrupt_rows_and_the_others_are_fine(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    damage(path, bytes([12]) * 1000)
    images = read_all(source_of(path, id_column="key", carry=(("label", "label"),)))
    kinds = [image.data.kind if isinstance(image.data, ImageError) else None for image in images]
    assert kinds == [None] * 12 + [ErrorKind.CORRUPT] * 3 + [None] * 5
    assert str(images[12].data).startswith("the Parquet file is damaged here: ")
    assert [image.carried["label"] for image in images] == [f"label {row}" for row in range(20)]


def test_damaged_carried_columns_cost_no_image(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    damage(path, b"label 7")
    images = read_all(source_of(path, carry=(("label", "label"),)))
    assert not any(isinstance(image.data, ImageError) for image in images)
    labels = [image.carried.get("label") for image in images]
    assert labels == [None if row in (7, 8, 9) else f"label {row}" for row in range(20)]


def test_damaged_ids_are_row_numbers(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    damage(path, b"k17")
    names = ids(path, id_column="key")
    assert names == [f"k{row}" for row in range(17)] + [f"row-{row:09d}" for row in (17, 18, 19)]


def test_listing_reads_no_image(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    for row in range(20):
        damage(path, bytes([row]) * 1000)
    assert ids(path, id_column="key") == [f"k{row}" for row in range(20)]
    assert len(ids(path)) == 20


def test_shards_are_read_by_several_threads(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    source = source_of(path)
    reader, refs = source.open_reader(), listed(source)
    with ThreadPoolExecutor(4) as pool:
        for start in (0, 7, 14):
            shard = refs[start : start + 7]
            reader.begin(shard)
            images = pool.map(lambda ref: reader.read(ref, CAP).data, shard)
            assert list(images) == [bytes([row]) * 1000 for row in range(start, min(start + 7, 20))]


def test_the_way_to_a_shard_has_a_beat(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"image": [bytes([row]) * 1000 for row in range(200)]}), path)
    beats: list[None] = []
    source = source_of(path)
    reader, refs = source.open_reader(), listed(source)
    reader.begin(refs[190:], beat=lambda: beats.append(None))
    assert len(beats) >= 190 // 32  # rows that are decoded at once, at most
    assert reader.read(refs[190], CAP).data == bytes([190]) * 1000
    reader.close()


def test_files_that_are_gone_or_no_parquet_files(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    source = source_of(path)
    reader, refs = source.open_reader(), listed(source)
    path.unlink()
    with pytest.raises(CapstanError, match=r"t\.parquet"):
        source.open_reader()
    reader.begin(refs)
    assert set(shown([reader.read(ref, CAP) for ref in refs])) == {"not_found: the Parquet file is not there any more"}
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match="not a Parquet file"):
        source_of(path)


def test_a_file_without_rows_has_no_images(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.parquet", {"image": pa.array([], pa.binary()), "key": pa.array([], pa.string())})
    assert ids(path) == ids(path, id_column="key") == []


def test_the_file_itself_is_where_it_reads_from(tmp_path: Path) -> None:
    path = write_groups(tmp_path / "t.parquet")
    assert list(source_of(path).locations()) == [str(path)]


def test_files_of_images_are_told_from_manifests(tmp_path: Path) -> None:
    def holds(columns: dict[str, Any], **options: Any) -> bool:
        return holds_images(str(write_table(tmp_path / "t.parquet", columns)), InputOptions(**options))

    both = {"image": [b"x"], "url": ["http://a/b"]}
    assert holds({"image": [b"x"]})
    assert holds({"image": pa.array([None], STRUCT)})
    assert not holds({"url": ["http://a/b"]})
    assert holds(both)
    assert not holds(both, path_column="url")
    assert holds(both, path_column="url", image_column="image")
    assert holds(both, path_column="another")
    assert not holds({"url": ["http://a/b"]}, image_column="another")
    with pytest.raises(UsageError, match="nowhere"):
        holds_images(str(tmp_path / "nowhere.parquet"), InputOptions())


def test_files_in_an_object_store(tmp_path: Path, s3: S3Server) -> None:
    path = write_groups(tmp_path / "t.parquet")
    address = s3.put("photo sets/t 1%.parquet", path.read_bytes())
    assert holds_images(address, InputOptions())
    source: ParquetImages = ParquetImages.at(address, InputOptions(id_column="key", carry=(("label", "label"),)))
    refs = listed(source)
    assert (refs[17].image_id, refs[17].uri, refs[17].locator) == ("k17", f"{address}#row=17", "17")
    images = read_all(source)
    assert shown(images) == [bytes([row]) * 1000 for row in range(20)]
    assert [image.carried["label"] for image in images] == [f"label {row}" for row in range(20)]
    with pytest.raises(UsageError, match=r"nowhere\.parquet"):
        holds_images(f"{s3.address}/nowhere.parquet", InputOptions())


def test_a_file_that_an_object_store_lost_or_replaced(tmp_path: Path, s3: S3Server) -> None:
    path = write_groups(tmp_path / "t.parquet")
    bucket = Storage.at(s3.address)
    bucket.write("t.parquet", path.read_bytes())
    source = ParquetImages.at(f"{s3.address}/t.parquet", InputOptions())
    reader, refs = source.open_reader(), listed(source)
    bucket.write("t.parquet", write_table(tmp_path / "u.parquet", {"image": [b"x"] * 20}).read_bytes())
    assert shown([reader.read(refs[0], CAP)]) == ["unreadable: the Parquet file changed since it was listed"]
    bucket.write("t.parquet", path.read_bytes())
    reader.begin(refs)
    assert shown([reader.read(refs[0], CAP)]) == [bytes(1000)]
    bucket.delete("t.parquet")
    with pytest.raises(CapstanError, match=r"t\.parquet"):
        source.open_reader()
    assert shown([reader.read(refs[0], CAP)]) == [bytes(1000)]
    reader.close()
    assert shown([reader.read(refs[0], CAP)]) == ["not_found: the Parquet file is not there any more"]

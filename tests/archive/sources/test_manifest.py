"""Manifests as archives: what they list, what is read, what is refused."""

from __future__ import annotations

import gzip
import json
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.sources.manifest import MANIFEST_EXTENSIONS, Manifest
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.source import SourceImage, carried_in
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef
from tests.builders import write_file
from tests.s3_server import S3Server

CAP = 1 << 20


def source_of(path: Path, **options: Any) -> Manifest:
    # Through pickle, as it reaches the workers.
    source: Manifest = pickle.loads(pickle.dumps(Manifest.at(str(path), InputOptions(**options))))
    return source


def listed(source: Manifest) -> list[ImageRef]:
    return [ref for batch in source.list_refs() for ref in batch_to_refs(batch)]


def read_all(source: Manifest, max_bytes: int = CAP) -> list[SourceImage]:
    reader, refs = source.open_reader(), listed(source)
    reader.begin(refs)
    images = [reader.read(ref, max_bytes) for ref in refs]
    reader.close()
    return images


def shown(images: Sequence[SourceImage]) -> list[bytes | str]:
    """The bytes of each image, or how it failed."""
    return [i.data.kind.value if isinstance(i.data, ImageError) else i.data for i in images]


def manifest_of(kind: str, path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A manifest of rows with equal keys, in one of the forms there are."""
    names = list(rows[0])
    delimiter = "\t" if kind.startswith(".tsv") else ","
    table = "\n".join(delimiter.join(str(value) for value in line) for line in [names, *(row.values() for row in rows)])
    text = {
        ".csv": table,
        ".tsv": table,
        ".jsonl": "\n".join(json.dumps(row) for row in rows),
        ".ndjson": "\n".join(json.dumps(row) for row in rows),
        ".txt": "\n".join(str(row.get("path")) for row in rows),
    }
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=2)
        return path
    data = text[kind.removesuffix(".gz")].encode()
    return write_file(path, gzip.compress(data) if kind.endswith(".gz") else data)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of images beside a folder of lists."""
    for name in ("lists/a.jpg", "lists/sub/b c.jpg", "elsewhere/d.jpg"):
        write_file(tmp_path / name, name.encode())
    return tmp_path


@pytest.mark.parametrize("kind", MANIFEST_EXTENSIONS)
def test_manifests_of_all_kinds_list_and_read_the_same(photos: Path, kind: str) -> None:
    paths = ["a.jpg", "sub/b c.jpg", "nowhere.jpg", f"{photos}/elsewhere/d.jpg", f"file://{photos}/elsewhere/d.jpg"]
    rows = [{"x": index, "path": path} for index, path in enumerate(paths)]
    source = source_of(manifest_of(kind, photos / "lists" / f"list{kind.upper()}", rows))
    refs = listed(source)
    assert [ref.image_id for ref in refs] == [ref.locator for ref in refs] == paths
    assert [ref.uri for ref in refs] == [
        f"file://{photos}/lists/a.jpg",
        f"file://{photos}/lists/sub/b%20c.jpg",
        f"file://{photos}/lists/nowhere.jpg",
        f"file://{photos}/elsewhere/d.jpg",
        f"file://{photos}/elsewhere/d.jpg",
    ]
    assert shown(read_all(source)) == [
        b"lists/a.jpg",
        b"lists/sub/b c.jpg",
        "not_found",
        b"elsewhere/d.jpg",
        b"elsewhere/d.jpg",
    ]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_ids_and_carried_columns(photos: Path, kind: str) -> None:
    rows = [{"path": "a.jpg", "key": "k1", "n": 7}, {"path": "nowhere.jpg", "key": "", "n": 8}]
    path = manifest_of(kind, photos / "lists" / f"list{kind}", rows)
    source = source_of(path, id_column="key", carry=(("n", "number"), ("key", "key")))
    assert [ref.image_id for ref in listed(source)] == ["k1", "nowhere.jpg"]
    assert source.carried() == pa.schema(
        [("number", pa.int64() if kind == ".parquet" else pa.string()), ("key", pa.string())]
    )
    number = int if kind == ".parquet" else str
    assert [dict(image.carried) for image in read_all(source)] == [
        {"number": number(7), "key": "k1"},
        {"number": number(8), "key": ""},
    ]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_references_to_rows_of_text_hold_what_is_carried(photos: Path, kind: str) -> None:
    path = manifest_of(kind, photos / "lists" / f"list{kind}", [{"path": "a.jpg", "n": "7"}, {"path": None, "n": "8"}])
    source = source_of(path, carry=(("n", "number"),))
    numbers = [None, None] if kind == ".parquet" else ["7", "8"]
    assert [carried_in(source, ref)["number"] for ref in listed(source)] == numbers


def test_a_column_whose_name_is_no_text_is_not_there_to_be_carried(photos: Path) -> None:
    path = write_file(photos / "lists" / "list.jsonl", b'{"\\udc80": 1, "path": "a.jpg"}')
    assert shown(read_all(source_of(path))) == [b"lists/a.jpg"]
    with pytest.raises(UsageError, match=r"no column '\\udc80' among path"):
        source_of(path, carry=(("\udc80", "x"),))


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_columns_must_be_there(photos: Path, kind: str) -> None:
    path = manifest_of(kind, photos / f"list{kind}", [{"where": "lists/a.jpg", "caption": "a dog"}])
    with pytest.raises(
        UsageError, match=r"which column holds paths or addresses\? There are where \(string\), caption"
    ):
        source_of(path)
    assert shown(read_all(source_of(path, path_column="where"))) == [b"lists/a.jpg"]
    for options in ({"path_column": "x"}, {"id_column": "x"}, {"carry": (("x", "y"),)}):
        with pytest.raises(UsageError, match="no column 'x' among"):
            source_of(path, **{"path_column": "where", **options})
    with pytest.raises(UsageError, match="caption=source_caption"):
        source_of(path, path_column="where", carry=(("caption", "caption"),))


def test_a_column_that_is_there_twice_is_not_clear(photos: Path) -> None:
    with pytest.raises(UsageError, match="2 columns are named 'url'"):
        source_of(write_file(photos / "list.csv", b"url,url\na,b\n"))


def test_plain_text_has_no_columns(photos: Path) -> None:
    path = write_file(photos / "lists/list.txt", b"a.jpg\n")
    assert shown(read_all(source_of(path, path_column="url"))) == [b"lists/a.jpg"]
    with pytest.raises(UsageError, match="no column 'x' among none at all"):
        source_of(path, id_column="x")


def test_bad_rows_are_rows(photos: Path) -> None:
    path = write_file(photos / "lists/list.csv", b'path,x\na.jpg,1\n,2\nb.jpg\n"c.jpg,3\nftp://h/d.jpg,4\na.jpg,5\n')
    images = read_all(source_of(path, carry=(("x", "x"),)))
    assert shown(images) == [b"lists/a.jpg", *["bad_reference"] * 4, b"lists/a.jpg"]
    assert [str(image.data) for image in images[1:5]] == [
        "line 3: it names no path",
        "line 4: number of cells: 1, and 2 in the header",
        "line 5: a quote in it is opened and never closed",
        "line 6: addresses that begin with ftp: can't be read",
    ]
    assert [image.carried["x"] for image in images] == ["1", "2", None, None, "4", "5"]
    assert [ref.image_id for ref in listed(source_of(path))][1:4] == [f"list.csv#line={line}" for line in (3, 4, 5)]


def test_bad_rows_of_a_parquet_file_are_rows(photos: Path) -> None:
    path = photos / "lists/list.parquet"
    pq.write_table(pa.table({"url": ["a.jpg", None, "", "x:\0"], "n": range(4)}), path)
    source = source_of(path, carry=(("n", "n"),))
    assert [ref.image_id for ref in listed(source)] == ["a.jpg", "list.parquet#row=1", "list.parquet#row=2", "x:\0"]
    images = read_all(source)
    assert shown(images) == [b"lists/a.jpg", *["bad_reference"] * 3]
    assert [image.carried["n"] for image in images] == [0, 1, 2, 3]


def test_a_damaged_row_group_is_rows(photos: Path) -> None:
    path = photos / "lists/list.parquet"
    urls = [f"http://example.org/{number:05d}.jpg" for number in range(300)]
    options: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    pq.write_table(pa.table({"url": urls}), path, row_group_size=100, write_page_checksum=True, **options)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"/00150.jpg", b"/0x150.jpg"))
    refs = listed(source_of(path))
    assert [ref.image_id for ref in refs] == urls[:100] + [f"list.parquet#row={row}" for row in range(100, 200)] + urls[
        200:
    ]
    reader = source_of(path).open_reader()
    image = reader.read(refs[150], CAP)
    assert isinstance(image.data, ImageError)
    assert image.data.kind is ErrorKind.BAD_REFERENCE
    assert str(image.data).startswith("row 150: the Parquet file is damaged here: ")


def test_names_that_are_not_text_are_read_from_plain_text(photos: Path) -> None:
    write_file(Path(os.fsdecode(os.fsencode(photos) + b"/lists/caf\xe9.jpg")), b"coffee")
    path = write_file(photos / "lists/list.txt", b"caf\xe9.jpg\n")
    source = source_of(path)
    assert [ref.image_id for ref in listed(source)] == [r"caf\xe9.jpg"]
    assert shown(read_all(source)) == [b"coffee"]


def test_names_that_look_odd_are_read(photos: Path) -> None:
    names = [
        "!a.jpg",
        "{b}.jpg",
        "c\\x41.jpg",
        "d%20e.jpg",
        "#f.jpg",
        "g?h=i.jpg",
        '"j".jpg',
        " k .jpg",
        "l\nm.jpg",
        "ñ.jpg",
    ]
    for name in names:
        write_file(photos / "lists" / name, name.encode())
    path = manifest_of(".jsonl", photos / "lists/list.jsonl", [{"path": name} for name in names])
    assert shown(read_all(source_of(path))) == [name.encode() for name in names]


def test_nothing_leaves_the_manifests_folder_but_by_its_full_path(photos: Path) -> None:
    (photos / "lists/link.jpg").symlink_to(photos / "elsewhere/d.jpg")
    (photos / "lists/inner.jpg").symlink_to("a.jpg")
    lines = ["../elsewhere/d.jpg", "sub/../a.jpg", "sub/../../elsewhere/d.jpg", "link.jpg", "inner.jpg", "sub"]
    path = write_file(photos / "lists/list.txt", "\n".join(lines).encode())
    assert shown(read_all(source_of(path))) == [
        "refused",
        b"lists/a.jpg",
        "refused",
        "refused",
        b"lists/a.jpg",
        "unreadable",
    ]
    followed = shown(read_all(source_of(path, follow_links=True)))
    assert followed == ["refused", b"lists/a.jpg", "refused", b"elsewhere/d.jpg", b"lists/a.jpg", "unreadable"]


def test_paths_start_from_the_image_root_and_stay_in_it(photos: Path) -> None:
    (photos / "lists/link.jpg").symlink_to(photos / "elsewhere/d.jpg")
    lines = [
        "a.jpg",
        f"{photos}/lists/a.jpg",
        f"{photos}/elsewhere/d.jpg",
        "link.jpg",
        "../elsewhere/d.jpg",
        "http://h/a.jpg",
    ]
    path = write_file(photos / "elsewhere/list.txt", "\n".join(lines).encode())
    expected = [b"lists/a.jpg", b"lists/a.jpg", *["refused"] * 4]
    assert shown(read_all(source_of(path, image_root=photos / "lists"))) == expected
    assert shown(read_all(source_of(path, image_root=photos / "lists", follow_links=True))) == expected
    with pytest.raises(UsageError, match="nowhere: no such folder of images"):
        source_of(path, image_root=photos / "nowhere")


def test_secrets_are_in_no_reference(photos: Path) -> None:
    path = write_file(photos / "list.csv", b"id,url\n1,https://me:secret@example.org/a.jpg\n")
    source = source_of(path)
    (ref,) = listed(source)
    (image,) = read_all(source)
    assert isinstance(image.data, ImageError)
    assert image.data.kind is ErrorKind.REFUSED
    assert "secret" not in f"{ref} {image.data}"
    assert ref.image_id == "https://***@example.org/a.jpg"


def test_larger_images_than_allowed_are_not_read(photos: Path) -> None:
    path = write_file(photos / "lists/list.txt", b"a.jpg\n")
    assert shown(read_all(source_of(path), 5)) == ["too_many_bytes"]


def test_locators_hold_when_the_archive_moves(photos: Path) -> None:
    path = write_file(photos / "lists/list.csv", b"path,x\na.jpg,1\nsub/b c.jpg,2\n,3\n")
    before = listed(source_of(path, carry=(("x", "x"),)))
    (photos / "lists").rename(photos / "moved")
    moved = source_of(photos / "moved/list.csv", carry=(("x", "x"),))
    assert [ref.locator for ref in listed(moved)] == [ref.locator for ref in before]
    reader = moved.open_reader()
    images = [reader.read(ref, CAP) for ref in before]
    assert shown(images) == [b"lists/a.jpg", b"lists/sub/b c.jpg", "bad_reference"]
    assert [image.carried for image in images] == [{"x": "1"}, {"x": "2"}, {"x": "3"}]


def test_a_machine_without_the_folder_of_the_images_says_so(photos: Path) -> None:
    near = source_of(write_file(photos / "lists/list.txt", b"a.jpg\n"))
    far = source_of(write_file(photos / "lists/far.txt", b"http://127.0.0.1/a.jpg\n"))
    (photos / "lists").rename(photos / "moved")
    with pytest.raises(CapstanError, match="doesn't see the folder of the images"):
        near.open_reader()
    far.open_reader().close()


def test_rows_whose_carried_values_can_not_be_had_fail(photos: Path) -> None:
    path = manifest_of(".parquet", photos / "lists/list.parquet", [{"path": "a.jpg", "n": 1}])
    source = source_of(path, carry=(("n", "n"),))
    reader, (ref,) = source.open_reader(), listed(source)
    path.rename(photos / "moved.parquet")
    assert shown([reader.read(ref, CAP)]) == ["not_found"]
    with pytest.raises(CapstanError, match=r"list\.parquet"):
        source.open_reader()
    manifest_of(".parquet", path, [{"path": "a.jpg", "n": 2}, {"path": "a.jpg", "n": 2}])
    reader.begin([ref])
    assert shown([reader.read(ref, CAP)]) == ["unreadable"]
    (photos / "moved.parquet").replace(path)
    reader.begin([ref])
    assert shown([reader.read(ref, CAP)]) == [b"lists/a.jpg"]


def test_addresses_of_the_web_are_under_its_rules(photos: Path) -> None:
    path = write_file(photos / "list.txt", b"http://127.0.0.1:9/a.jpg\n")
    assert shown(read_all(source_of(path))) == ["refused"]


def test_shards_of_carried_columns_are_read_by_several_threads(photos: Path) -> None:
    path, number = photos / "lists/list.parquet", 5000
    columns = {"path": ["a.jpg" if row % 2 else "sub/b c.jpg" for row in range(number)], "n": range(number)}
    pq.write_table(pa.table(columns), path, row_group_size=1700)
    source = source_of(path, carry=(("n", "n"),))
    reader, refs = source.open_reader(), listed(source)
    with ThreadPoolExecutor(4) as pool:
        for start in (0, 1500, 3000, 4900, 100):
            shard = refs[start : start + 100]
            reader.begin(shard)
            images = list(pool.map(lambda ref: reader.read(ref, CAP), shard))
            assert [image.carried["n"] for image in images] == list(range(start, start + 100))
            assert set(shown(images)) == {b"lists/a.jpg", b"lists/sub/b c.jpg"}


def test_other_files_are_no_manifests(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"list\.xlsx: no manifest; they end in \.parquet \.csv"):
        source_of(write_file(tmp_path / "list.xlsx", b""))
    for kind in MANIFEST_EXTENSIONS:
        with pytest.raises(UsageError, match="nowhere"):
            source_of(tmp_path / f"nowhere{kind}")


def test_the_manifest_itself_is_where_it_reads_from(photos: Path) -> None:
    path = write_file(photos / "list.txt", b"a\n")
    assert list(source_of(path).locations()) == [str(path)]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_manifests_in_an_object_store_list_what_lies_beside_them(photos: Path, s3: S3Server, kind: str) -> None:
    top = f"in {kind}"
    for key in ("lists/sub/b c%20.jpg", "elsewhere/d.jpg"):
        s3.put(f"{top}/{key}", key.encode())
    lists, elsewhere = f"{s3.address}/{top}/lists", f"{s3.address}/{top}/elsewhere"
    paths = ["sub/b c%20.jpg", "nowhere.jpg", "../elsewhere/d.jpg", f"{elsewhere}/d.jpg", f"{photos}/lists/a.jpg"]
    path = manifest_of(kind, photos / f"list{kind}", [{"path": path, "n": index} for index, path in enumerate(paths)])
    address = s3.put(f"{top}/lists/list{kind}", path.read_bytes())
    source = Manifest.at(address, InputOptions(carry=(("n", "n"),)))
    uris = [f"{lists}/sub/b c%20.jpg", f"{lists}/nowhere.jpg", *paths[2:4], f"file://{photos}/lists/a.jpg"]
    assert [ref.uri for ref in listed(source)] == uris
    images = read_all(source)
    assert shown(images) == [b"lists/sub/b c%20.jpg", "not_found", "refused", b"elsewhere/d.jpg", b"lists/a.jpg"]
    assert [int(image.carried["n"]) for image in images] == [0, 1, 2, 3, 4]

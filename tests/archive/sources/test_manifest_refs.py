"""References of manifests: the vectorized way and the plain one give the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.refs import REF_SCHEMA, batch_to_refs
from caption_core.archive.sources import manifest_refs
from caption_core.archive.sources.manifest_locator import Locator
from caption_core.archive.sources.manifest_paths import PathRules
from caption_core.archive.sources.manifest_refs import RefMaker
from caption_core.archive.sources.manifest_rows import RowChunk
from caption_core.errors import ImageError
from caption_core.records import ErrorKind, ImageRef

RULES = {
    "open": PathRules("/lists/my photos"),
    "closed": PathRules("/lists", is_closed=True),
    "remote": PathRules("s3://bucket/lists"),
    "top": PathRules("/"),
}


def maker(rules: str = "open", *, any_bytes: bool = False, keep_rows: bool = False) -> RefMaker:
    return RefMaker(RULES[rules], "/lists/my list.csv", "line", any_bytes=any_bytes, keep_rows=keep_rows)


def chunk_of(
    paths: Sequence[bytes | None],
    ids: Sequence[str | None] | None = None,
    faults: Mapping[int, str] | None = None,
    carried: Sequence[str | None] | None = None,
) -> RowChunk:
    return RowChunk(
        pa.array(range(2, len(paths) + 2), pa.int64()),
        pa.array(paths, pa.large_binary()),
        None if ids is None else pa.array(ids, pa.large_string()),
        faults or {},
        None if carried is None else pa.array(carried, pa.large_string()),
    )


def refs_of(make: RefMaker, chunk: RowChunk) -> list[ImageRef]:
    batch = make.refs(chunk)
    assert batch.schema == REF_SCHEMA
    batch.validate(full=True)
    return batch_to_refs(batch)


def ref_of(make: RefMaker, path: bytes) -> ImageRef:
    (ref,) = refs_of(make, chunk_of([path]))
    return ref


def fault_of(ref: ImageRef) -> tuple[ErrorKind, str]:
    fault = Locator.parse(ref.locator).fault
    assert isinstance(fault, ImageError)
    return fault.kind, str(fault)


def test_paths_and_addresses_are_their_own_ids_and_locators() -> None:
    paths = [b"a/b.jpg", b"/x/c.jpg", b"http://h/d.jpg?e=f", b"s3://b/g h.jpg", b"i j.jpg", "ż.jpg".encode()]
    refs = refs_of(maker(), chunk_of(paths))
    assert [ref.image_id for ref in refs] == [ref.locator for ref in refs] == [path.decode() for path in paths]
    assert [ref.uri for ref in refs] == [
        "file:///lists/my%20photos/a/b.jpg",
        "file:///x/c.jpg",
        "http://h/d.jpg?e=f",
        "s3://b/g h.jpg",
        "file:///lists/my%20photos/i%20j.jpg",
        "file:///lists/my%20photos/%C5%BC.jpg",
    ]
    assert {(ref.num_bytes, ref.source) for ref in refs} == {(-1, 0)}


def test_locators_do_not_depend_on_the_folder() -> None:
    paths = [b"a.jpg", b"b c.jpg", b"!d", rb"e\xff"]
    one, other = (refs_of(maker(rules), chunk_of(paths)) for rules in ("open", "remote"))
    assert [ref.locator for ref in one] == [ref.locator for ref in other]
    assert {ref.uri for ref in one}.isdisjoint({ref.uri for ref in other})


def test_a_manifest_may_lie_at_the_top() -> None:
    assert ref_of(maker("top"), b"a/b.jpg").uri == "file:///a/b.jpg"
    assert ref_of(maker("top"), b"a b.jpg").uri == "file:///a%20b.jpg"


def test_rows_without_a_path_are_rows() -> None:
    refs = refs_of(maker(), chunk_of([None, b"", b" \t", b"a"], faults={0: "it is not JSON"}))
    assert [ref.image_id for ref in refs] == ["my list.csv#line=2", "my list.csv#line=3", "my list.csv#line=4", "a"]
    assert [ref.uri for ref in refs][:2] == ["file:///lists/my%20list.csv#line=2", "file:///lists/my%20list.csv#line=3"]
    assert [fault_of(ref) for ref in refs[:3]] == [
        (ErrorKind.BAD_REFERENCE, "line 2: it is not JSON"),
        (ErrorKind.BAD_REFERENCE, "line 3: it names no path"),
        (ErrorKind.BAD_REFERENCE, "line 4: it names no path"),
    ]


def test_what_leads_out_is_a_row() -> None:
    ref = ref_of(maker(), b"../a.jpg")
    assert (ref.image_id, ref.uri) == ("../a.jpg", "../a.jpg")
    assert fault_of(ref) == (ErrorKind.REFUSED, "line 2: a path that leads out of the manifest's folder")


@pytest.mark.parametrize("address", [b"http://user:secret@h/a.jpg", b"s3://KEY:secret/more@b/a.jpg"])
def test_secrets_get_nowhere(address: bytes) -> None:
    ref = ref_of(maker(), address)
    assert fault_of(ref)[0] is ErrorKind.REFUSED
    assert "secret" not in f"{ref}"
    assert "***@" in ref.image_id
    assert "***@" in ref.uri


def test_bytes_that_are_not_utf8_are_names_where_they_may_be() -> None:
    ref = ref_of(maker(any_bytes=True), b"caf\xe9.jpg")
    assert (ref.image_id, ref.uri) == (r"caf\xe9.jpg", "file:///lists/my%20photos/caf%E9.jpg")
    ref = ref_of(maker(), b"caf\xe9.jpg")
    assert (ref.image_id, fault_of(ref)) == (
        "my list.csv#line=2",
        (ErrorKind.BAD_REFERENCE, "line 2: it is not UTF-8"),
    )


def test_ids_come_from_their_column_where_they_are_not_empty() -> None:
    refs = refs_of(maker(), chunk_of([b"a", b"b", b"c d", None, None], ["k", "", None, "m", None]))
    assert [ref.image_id for ref in refs] == ["k", "b", "c d", "m", "my list.csv#line=6"]


def test_rows_are_kept_where_they_are_needed() -> None:
    refs = refs_of(maker(keep_rows=True), chunk_of([b"a", b"b c", None]))
    assert refs[0].locator == '!{"row":2,"path":"a"}'
    assert [(Locator.parse(ref.locator).row, Locator.parse(ref.locator).path) for ref in refs] == [
        (2, "a"),
        (3, "b c"),
        (4, None),
    ]


def test_carried_values_are_kept_in_the_locator() -> None:
    carried = [json.dumps({"x": value}) for value in ("1", 'q"\\ \n', None)]
    refs = refs_of(maker(), chunk_of([b"a", b"b c", None, None], carried=[*carried, None]))
    found = [Locator.parse(ref.locator) for ref in refs]
    assert [locator.carried for locator in found] == [{"x": "1"}, {"x": 'q"\\ \n'}, {"x": None}, {}]
    assert [locator.path for locator in found] == ["a", "b c", None, None]


PIECES = st.sampled_from(
    [
        "a",
        "b.jpg",
        "/",
        "//",
        ".",
        "..",
        "~",
        "-",
        " ",
        "%20",
        "!",
        '"',
        "\\",
        "\\xe9",
        "é",
        ":",
        "@",
        "?x=1",
        "#",
        "\n",
        "\0",
    ]
)
SCHEMES = st.sampled_from(
    ["", "", "", "/", "http://", "https://h/", "s3://b", "HTTP://h/", "ftp://h/", "file:///", "http://u:p@"]
)
PATHS = st.builds(lambda scheme, pieces: (scheme + "".join(pieces)).encode(), SCHEMES, st.lists(PIECES, max_size=5))


PLAIN_PATHS = st.sampled_from(
    ["é f/ñ%.jpg".encode(), b"g\xe9", b"a", b"b/c.jpg", b"/d", b"/e/f", b"http://h/i", b"s3://j:80/k@l", b"m~/_n-o..p"]
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.none() | PLAIN_PATHS | PATHS | st.binary(max_size=4), min_size=1, max_size=8),
    st.sampled_from(list(RULES)),
    st.booleans(),
    st.sampled_from(["", "rows", "carried"]),
)
def test_both_ways_give_the_same(paths: list[bytes | None], rules: str, any_bytes: bool, kept: str) -> None:
    make = maker(rules, any_bytes=any_bytes, keep_rows=kept == "rows")
    chunk = chunk_of(paths, carried=['{"x":"é"}'] * len(paths) if kept == "carried" else None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_refs, "_plain", lambda paths, **_: np.zeros(len(paths), bool))
        expected = refs_of(make, chunk)
    found = refs_of(make, chunk)
    assert [(ref.image_id, ref.uri) for ref in found] == [(ref.image_id, ref.uri) for ref in expected]
    assert [repr(Locator.parse(ref.locator)) for ref in found] == [repr(Locator.parse(ref.locator)) for ref in expected]
    if kept != "carried":
        assert [ref.locator for ref in found] == [ref.locator for ref in expected]


def test_ordinary_paths_and_addresses_go_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RefMaker, "_ref", None)  # the slow way
    paths = [
        b"photos/2021/IMG_0001.JPG",
        b"/mnt/photos/a-b~c.jpg",
        b"https://example.org:8080/a.jpg?w=1&h=%202#top",
        b"s3://my-bucket.eu/a/@b/c:d.jpg",
        "my photos/ñandú (1) 100%.jpg".encode(),
        "https://example.org/ñandú 1.jpg".encode(),
    ]
    refs = refs_of(maker(), chunk_of(paths))
    assert [ref.image_id for ref in refs] == [path.decode() for path in paths]
    assert refs[4].uri == "file:///lists/my%20photos/my%20photos/%C3%B1and%C3%BA%20%281%29%20100%25.jpg"

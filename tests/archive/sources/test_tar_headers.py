"""The members of tars: as tarfile sees them where they are sound, and without harm where they aren't."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.random_access import StoredAccess
from caption_core.archive.sources.tar_headers import Damage, Member, is_tar_start, walk_members
from tests.tar_builders import BLOCK, Entry, header, octal, pack, padded, pax, pax_record

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)

KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 6
    + [tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE]
    + [tarfile.CHRTYPE, tarfile.BLKTYPE]
)
ENTRIES = st.builds(
    Entry,
    name=st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"\0", b"").strip(b"/") or b"x"),
    data=st.binary(max_size=1200),
    kind=KINDS,
    link=st.sampled_from(["", "target", "t" * 300]),
)


def walk(data: bytes) -> list[Member | Damage]:
    return list(walk_members(StoredAccess(pa.BufferReader(data))))


def names(data: bytes) -> list[bytes]:
    return [found.name for found in walk(data) if isinstance(found, Member)]


def damage_of(data: bytes) -> Damage:
    (damage,) = (found for found in walk(data) if isinstance(found, Damage))
    return damage


def file(name: bytes, data: bytes = b"data") -> bytes:
    return header(name, octal(len(data))) + padded(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, max_size=8), st.sampled_from(FORMATS[1:]))
def test_members_are_those_that_tarfile_sees(entries: list[Entry], format_: int) -> None:
    data = pack(entries, format_)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        expected = [
            (info.name.encode("utf-8", "surrogateescape"), info.offset_data, info.size, info.isreg())
            for info in archive
        ]
    found = walk(data)
    assert all(isinstance(member, Member) for member in found)
    members = [member for member in found if isinstance(member, Member)]
    seen = [(member.name, member.offset, member.oddity is None) for member in members]
    assert seen == [(name, offset, regular) for name, offset, _, regular in expected]
    assert [entry.name for entry in entries] == [member.name for member in members]
    sizes = [member.num_bytes for member in members if member.oddity is None]
    assert sizes == [size for _, _, size, regular in expected if regular]


@pytest.mark.parametrize("length", [99, 100, 101, 155, 200, 255])
def test_a_long_name_in_ustar(length: int) -> None:
    name = (b"folder" + b"/" + b"x" * 99)[:length] if length < 107 else b"f" * (length - 100) + b"/" + b"x" * 99
    assert names(pack([Entry(name, b"1")], tarfile.USTAR_FORMAT)) == [name]


def test_what_gnu_keeps_after_the_link_is_no_prefix() -> None:
    times = b"ustar  \0" + b"\0" * 80 + b"14000000000 "
    assert names(header(b"a.jpg", octal(0), rest=times)) == [b"a.jpg"]
    assert names(header(b"a.jpg", octal(0), rest=b"ustar\0" + b"00" + b"\0" * 80 + b"folder")) == [b"folder/a.jpg"]


def test_an_old_checksum_of_signed_bytes() -> None:
    assert names(header(b"caf\xe9.jpg", octal(0), signed=True)) == [b"caf\xe9.jpg"]


@pytest.mark.parametrize("size", [b"\x80" + b"\0" * 10 + b"\x04", b"          4 ", b"4", b"00000000004\0"])
def test_sizes_in_all_forms(size: bytes) -> None:
    data = header(b"a", size) + padded(b"data") + file(b"b")
    assert names(data) == [b"a", b"b"]


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\xff" * 11, b"-0000000001", b"0_1", b"9", b"size"])
def test_an_impossible_size_is_damage(size: bytes) -> None:
    data = file(b"a") + header(b"b", size) + file(b"c")
    assert names(data) == [b"a"]
    assert damage_of(data).offset == 2 * BLOCK


def test_a_pax_size_and_path_count_more_than_the_header() -> None:
    records = {b"size": b"600", b"path": b"long/b.jpg", b"comment": b"x=y\n"}
    data = pax(records) + header(b"a", octal(1)) + padded(b"d" * 600) + file(b"c")
    first, second = walk(data)
    assert first == Member(b"long/b.jpg", 3 * BLOCK, 600)
    assert second == Member(b"c", 6 * BLOCK, 4)


@pytest.mark.parametrize("size", [b"-1", b"1e3", b"9" * 25, b"9" * 5000, "٣".encode()])
def test_an_impossible_pax_size_is_damage(size: bytes) -> None:
    assert "impossible size" in damage_of(pax({b"size": size}) + file(b"a")).cause


@pytest.mark.parametrize(
    "body", [b"x", b"5 a=b", b"0 a=b\n", b"9" * 600, b"-6 a=b\n", b"6 a=b\n99 c=d\n", b"6 a=b\n\0"]
)
def test_a_damaged_extended_header(body: bytes) -> None:
    data = file(b"a") + header(b"PaxHeader", octal(len(body)), b"x") + padded(body) + file(b"b")
    assert names(data) == [b"a"]
    assert damage_of(data) == Damage(2 * BLOCK, "a damaged extended header")


def test_a_global_header_names_no_member() -> None:
    assert names(pax({b"path": b"wrong", b"size": b"999"}, b"g") + file(b"a") + file(b"b")) == [b"a", b"b"]


def test_an_extended_header_is_for_one_member() -> None:
    assert names(pax({b"path": b"long"}) + file(b"a") + file(b"b")) == [b"long", b"b"]


def test_a_huge_extended_header_is_not_read() -> None:
    data = file(b"a") + header(b"PaxHeader", octal(8_000_000_000), b"x")
    assert damage_of(data).cause == "an extended header of 8,000,000,000 bytes"


def test_many_extended_headers_in_a_row() -> None:
    long_name = header(b"././@LongLink", octal(2), b"L") + padded(b"n\0")
    assert names(long_name * 5000 + file(b"a")) == [b"n"]
    assert damage_of(long_name * 5000).cause == "the archive ends in a header"


def test_an_extended_header_with_a_million_records() -> None:
    body = pax_record(b"k", b"v") * 1_000_000
    assert names(header(b"PaxHeader", octal(len(body)), b"x") + padded(body) + file(b"a")) == [b"a"]


def test_archives_that_were_joined_are_read_whole() -> None:
    one, other = pack([Entry(b"a", b"1")]), pack([Entry(b"b", b"2")])
    assert names(one + b"\0" * 100_352 + other) == [b"a", b"b"]


def test_an_archive_may_lack_its_end() -> None:
    assert walk(file(b"a")) == [Member(b"a", BLOCK, 4)]
    assert walk(file(b"a") + b"\0" * 100) == [Member(b"a", BLOCK, 4)]
    assert walk(header(b"a", octal(4)) + b"data") == [Member(b"a", BLOCK, 4)]
    assert walk(b"\0" * 10_240) == []


def test_rubbish_after_the_end_is_damage() -> None:
    data = pack([Entry(b"a", b"1")])
    assert damage_of(data + b"rubbish" * 100) == Damage(len(data), "no tar header, or a damaged one")


def test_a_folder_of_the_oldest_format() -> None:
    data = header(b"photos.jpg/", octal(0), b"\0") + file(b"a")
    assert walk(data)[0] == Member(b"photos.jpg", BLOCK, 0, "a folder")


def test_an_old_sparse_file_is_passed_over_whole() -> None:
    first = header(b"s.jpg", octal(4), b"S", rest=b"ustar  \0".ljust(482 - 257, b"\0") + b"\1")
    maps = [b"\0" * 504 + bytes([goes_on]) + b"\0" * 7 for goes_on in (1, 0)]
    data = first + b"".join(maps) + padded(b"data") + file(b"a")
    sparse, after = walk(data)
    assert isinstance(sparse, Member)
    assert (sparse.name, sparse.offset) == (b"s.jpg", 3 * BLOCK)
    assert sparse.oddity is not None
    assert "sparse" in sparse.oddity
    assert after == Member(b"a", 5 * BLOCK, 4)
    assert damage_of(first + maps[0]).cause == "the archive ends in a header"


def test_a_sparse_file_of_the_pax_format() -> None:
    records = {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"s.jpg"}
    sparse, after = walk(pax(records) + file(b"GNUSparseFile.1/s.jpg") + file(b"a"))
    assert isinstance(sparse, Member)
    assert sparse.name == b"s.jpg"
    assert sparse.oddity is not None
    assert after == Member(b"a", 5 * BLOCK, 4)


def test_an_unknown_kind_is_passed_over_with_its_data() -> None:
    odd, after = walk(header(b"a.jpg", octal(4), b"Q") + padded(b"data") + file(b"b"))
    assert isinstance(odd, Member)
    assert odd.oddity == "of an unknown type (b'Q')"
    assert after == Member(b"b", 3 * BLOCK, 4)


SOUND = pack(
    [Entry(b"a" * 150, b"1" * 700), Entry(b"b", b""), Entry(b"caf\xe9", b"2" * 10), Entry(b"d", b"3" * 2000)],
    tarfile.PAX_FORMAT,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_does_no_harm(data: st.DataObject) -> None:
    damaged = bytearray(SOUND)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=20))
        damaged[at : at + len(patch)] = patch
    found = walk(bytes(damaged))
    assert len(found) <= len(damaged) // BLOCK
    assert not any(isinstance(item, Damage) for item in found[:-1])


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=3000), st.sampled_from([b"0", b"L", b"K", b"x", b"g", b"S", b"5"]))
def test_any_bytes_after_any_header_do_no_harm(data: bytes, kind: bytes) -> None:
    whole = header(b"a", octal(len(data) // 2), kind) + data
    assert len(walk(whole)) <= len(whole) // BLOCK + 1


@settings(max_examples=120, deadline=None)
@given(st.integers(0, len(SOUND)))
def test_a_cut_archive_keeps_its_whole_members(cut: int) -> None:
    whole = [member for member in walk(SOUND) if isinstance(member, Member)]
    found = walk(SOUND[:cut])
    members = [member for member in found if isinstance(member, Member)]
    kept = [member for member in whole if member.offset + member.num_bytes <= cut]
    assert members[: len(kept)] == kept
    assert len(members) <= len(kept) + 1
    if len(members) > len(kept):
        (damage,) = (item for item in found if isinstance(item, Damage))
        assert damage.cut_member == members[-1]


def test_what_a_tar_may_begin_with() -> None:
    assert is_tar_start(SOUND[:BLOCK])
    assert is_tar_start(b"\0" * BLOCK)
    assert not is_tar_start(b"\xff\xd8\xff".ljust(BLOCK))
    assert not is_tar_start(SOUND[: BLOCK - 1])

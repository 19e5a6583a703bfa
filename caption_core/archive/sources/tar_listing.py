"""From a tar's members to references to its images, each with its siblings.

The headers are walked once, since that costs a request each in an object store, and decompression in a compressed tar.
An image's siblings may come after it, so images wait in a temporary file until the walk is done.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pyarrow as pa

from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.folder import IMAGE_EXTENSIONS
from caption_core.archive.sources.random_access import RandomAccess
from caption_core.archive.sources.tar_headers import Damage, Member, walk_members
from caption_core.archive.sources.tar_places import Span, TarPlace
from caption_core.archive.sources.tar_siblings import SiblingTable
from caption_core.records import ErrorKind, ImageRef

MAX_SIBLING_BYTES = 1 << 20
"""A larger .json or .txt isn't carried along: a shard's rows are in memory together."""

_ROWS_PER_BATCH = 8192
_MEMBER_SCHEMA = pa.schema(
    [("name", pa.large_binary()), ("offset", pa.int64()), ("num_bytes", pa.int64()), ("oddity", pa.large_string())]
)


def list_tar(content: RandomAccess, uri: str, archive_name: str) -> Iterator[ImageRef]:
    """The images in the archive's order; then, where it is damaged, a reference that stands for what couldn't be read.

    Args:
        content: of the tar.
        uri: of the tar.
        archive_name: what the reference to damage is called by.

    Raises:
        OSError: the file can't be read, or a temporary file can't be written.
    """
    siblings = {b"json": SiblingTable(), b"txt": SiblingTable()}
    with tempfile.TemporaryFile() as file:
        damage = _spool(walk_members(content), siblings, file)
        for members in _spooled(file):
            yield from _refs(members, siblings, damage, uri)
    if damage is not None and not _stands_for(damage.cut_member):
        yield _damage_ref(damage, uri, archive_name)


def key_of(uri: str) -> str | None:
    """The WebDataset key of a listed image: its name in the tar up to the first dot after the last slash.

    None for what stands for damage.
    """
    return name_to_text(_key(unquote_to_bytes(uri.rpartition("#")[2]))) or None


def _spool(found: Iterable[Member | Damage], siblings: dict[bytes, SiblingTable], file: IO[bytes]) -> Damage | None:
    """Sort the walk's finds: siblings into tables, images into a file; returns the damage, if any."""
    damage: Damage | None = None
    images: list[Member] = []
    with pa.ipc.new_stream(pa.PythonFile(file, "w"), _MEMBER_SCHEMA) as writer:
        for item in found:
            if isinstance(item, Damage):
                damage = item
            elif _is_image(item):
                images.append(item)
            else:
                _keep_sibling(item, siblings)
            if len(images) == _ROWS_PER_BATCH:
                writer.write_batch(_to_batch(images))
                images.clear()
        writer.write_batch(_to_batch(images))
    return damage


def _to_batch(members: Sequence[Member]) -> pa.RecordBatch:
    columns = ([getattr(member, field.name) for member in members] for field in _MEMBER_SCHEMA)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, _MEMBER_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=_MEMBER_SCHEMA)


def _spooled(file: IO[bytes]) -> Iterator[list[Member]]:
    file.seek(0)
    for batch in pa.ipc.open_stream(pa.PythonFile(file, "r")):
        yield [Member(*values) for values in zip(*(column.to_pylist() for column in batch.columns), strict=True)]


def _is_image(member: Member) -> bool:
    return member.name.lower().endswith(IMAGE_EXTENSIONS) and not _is_hidden(member.name)


def _is_hidden(name: bytes) -> bool:
    # ._photo.jpg, for one, holds what macOS notes about photo.jpg.
    return any(part.startswith(b".") and part not in (b".", b"..") for part in name.split(b"/"))


def _keep_sibling(member: Member, siblings: dict[bytes, SiblingTable]) -> None:
    extension = member.name.rpartition(b"/")[2].partition(b".")[2].lower()
    if extension in siblings and member.oddity is None and member.num_bytes <= MAX_SIBLING_BYTES:
        siblings[extension].add(_key(_plain_name(member.name)), Span(member.offset, member.num_bytes))


def _plain_name(name: bytes) -> bytes:
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    return name


def _key(name: bytes) -> bytes:
    folder, slash, base = name.rpartition(b"/")
    return folder + slash + base.partition(b".")[0]


def _refs(
    members: Sequence[Member], siblings: dict[bytes, SiblingTable], damage: Damage | None, uri: str
) -> Iterator[ImageRef]:
    names = [_plain_name(member.name) for member in members]
    keys = [_key(name) for name in names]
    found = zip(siblings[b"json"].find(keys), siblings[b"txt"].find(keys), strict=True)
    for member, name, (json, txt) in zip(members, names, found, strict=True):
        place = _place(member, json, txt, damage)
        num_bytes = member.num_bytes if member.oddity is None else -1
        yield ImageRef(name_to_text(name), f"{uri}#{quote_from_bytes(name)}", num_bytes, place.to_locator())


def _place(member: Member, json: Span | None, txt: Span | None, damage: Damage | None) -> TarPlace:
    if member.oddity is not None:
        return TarPlace(None, json, txt, ErrorKind.UNREADABLE, f"in the archive this is {member.oddity}")
    if damage is not None and damage.cut_member == member:
        return TarPlace(None, json, txt, ErrorKind.CORRUPT, damage.cause)
    return TarPlace(Span(member.offset, member.num_bytes), json, txt)


def _stands_for(member: Member | None) -> bool:
    """Whether a cut member's own row tells of the damage."""
    return member is not None and member.oddity is None and _is_image(member)


def _damage_ref(damage: Damage, uri: str, archive_name: str) -> ImageRef:
    cause = f"{damage.cause}, at byte {damage.offset:,} of the archive; what follows can't be read"
    place = TarPlace(None, kind=ErrorKind.CORRUPT, cause=cause)
    return ImageRef(f"{archive_name}#damaged", f"{uri}#", -1, place.to_locator())

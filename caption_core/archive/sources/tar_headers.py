"""The members of a tar archive, by its headers alone (POSIX.1-2001 pax and ustar, GNU, and the old V7 format).

The standard library's tarfile isn't used for it: it takes a damaged header for the end of the archive, keeps every
member in memory, and reads as much into memory, or as deep into recursion, as a header tells it to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caption_core.archive.sources.random_access import RandomAccess

BLOCK_BYTES = 512

_ZEROS_BYTES = 1 << 16
# Long names and extended attributes precede a member; what is longer than this is no such thing.
_MOST_EXTENSION_BYTES = 16 << 20
_MOST_BYTES = 1 << 62

_REGULAR = b"\0" + b"07"
_LONG_NAME, _LONG_LINK, _SPARSE = b"L", b"K", b"S"
_PAX, _PAX_GLOBAL = (b"x", b"X"), b"g"
_EXTENSIONS = (_LONG_NAME, _LONG_LINK, *_PAX, _PAX_GLOBAL)
_WITHOUT_DATA = {
    b"1": "a hard link to another member",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"5": "a folder",
    b"6": "a named pipe",
}
_ODD = {
    **_WITHOUT_DATA,
    b"D": "a folder",
    b"M": "the rest of a file that begins in another volume",
    b"S": "a sparse file; tar it without --sparse",
    b"V": "a volume's label",
}


@dataclass(frozen=True, slots=True)
class Member:
    """What a tar holds under one name.

    Attributes:
        name: as written.
        offset: of its data, in bytes from the start of the archive.
        num_bytes: of its data as stored.
        oddity: what it is, in words, where it isn't a regular file.
    """

    name: bytes
    offset: int
    num_bytes: int
    oddity: str | None = None


@dataclass(frozen=True, slots=True)
class Damage:
    """Where an archive can't be read any further.

    Attributes:
        offset: in bytes from the start of the archive.
        cause: in words.
        cut_member: the member whose data the archive ends in, where it is that.
    """

    offset: int
    cause: str
    cut_member: Member | None = None


@dataclass(frozen=True, slots=True)
class _Header:
    kind: bytes
    name: bytes
    num_bytes: int
    extended: bool  # a sparse file's header that goes on in further blocks


@dataclass(slots=True)
class _Extensions:
    """What the headers before a member's own say about it."""

    long_name: bytes = b""
    path: bytes = b""
    num_bytes: int = -1
    sparse_name: bytes = b""
    sparse: bool = False


class _HeaderError(Exception):
    def __init__(self, offset: int, cause: str) -> None:
        super().__init__(cause)
        self.damage = Damage(offset, cause)


def walk_members(content: RandomAccess) -> Iterator[Member | Damage]:
    """Yield the members in order, and at the end what is wrong with the archive, if anything is.

    Zeros between members, the mark of an archive's end among them, are passed over: archives that were joined are read
    whole. Data is skipped, and never interpreted; memory doesn't grow with the archive.

    Raises:
        OSError: the file can't be read.
    """
    position, member = 0, None
    try:
        while True:
            position, block = _next_block(content, position)
            if not block:
                break
            member, position = _read_member(content, position, block)
            yield member
    except _HeaderError as error:
        yield error.damage if content.damage is None else Damage(error.damage.offset, content.damage)
        return
    yield from _ending(content, member)


def is_tar_start(block: bytes) -> bool:
    """Whether an archive can begin with these 512 bytes."""
    if len(block) < BLOCK_BYTES:
        return False
    try:
        if any(block):
            _parse(block, 0)
    except _HeaderError:
        return False
    return True


def _ending(content: RandomAccess, last: Member | None) -> Iterator[Damage]:
    if last is not None and last.num_bytes and not content.read_at(1, last.offset + last.num_bytes - 1):
        yield Damage(last.offset, content.damage or "the archive ends before this member does", last)
    elif content.damage is not None:
        yield Damage(last.offset + last.num_bytes if last else 0, content.damage)


def _next_block(content: RandomAccess, position: int) -> tuple[int, bytes]:
    """Offset and bytes of the next block that isn't all zeros; no bytes at the end."""
    block = content.read_at(BLOCK_BYTES, position)
    if not block or block[0]:
        return position, block
    while piece := content.read_at(_ZEROS_BYTES, position):
        zeros = len(piece) - len(piece.lstrip(b"\0"))
        if zeros < len(piece):
            position += zeros // BLOCK_BYTES * BLOCK_BYTES
            return position, content.read_at(BLOCK_BYTES, position)
        position += len(piece)
    return position, b""


def _read_member(content: RandomAccess, position: int, block: bytes) -> tuple[Member, int]:
    """The member whose headers begin at an offset with this block, and where its data ends."""
    extensions = _Extensions()
    header = _parse(block, position)
    while header.kind in _EXTENSIONS:
        _extend(extensions, header, content, position)
        position += BLOCK_BYTES + _padded(header.num_bytes)
        header = _parse(content.read_at(BLOCK_BYTES, position), position)
    data = position + BLOCK_BYTES
    if header.kind == _SPARSE and header.extended:
        data = _after_sparse_map(content, data)
    member = _member(header, extensions, data)
    return member, data + _padded(member.num_bytes)


def _member(header: _Header, extensions: _Extensions, data: int) -> Member:
    name = extensions.sparse_name or extensions.path or extensions.long_name or header.name
    kind = header.kind
    if kind == b"\0" and name.endswith(b"/"):
        kind = b"5"  # how the V7 format writes a folder
    elif extensions.sparse:
        kind = _SPARSE
    num_bytes = header.num_bytes if extensions.num_bytes < 0 else extensions.num_bytes
    if kind in _WITHOUT_DATA:
        num_bytes = 0
    if kind in _REGULAR:
        return Member(name, data, num_bytes)
    return Member(name.rstrip(b"/"), data, num_bytes, _ODD.get(kind, f"of an unknown type ({kind!r})"))


def _parse(block: bytes, offset: int) -> _Header:
    if len(block) < BLOCK_BYTES:
        raise _HeaderError(offset, "the archive ends in a header")
    try:
        num_bytes, checksum = _number(block[124:136]), _number(block[148:156])
    except ValueError:
        raise _HeaderError(offset, "no tar header, or a damaged one") from None
    if not _has_checksum(block, checksum):
        raise _HeaderError(offset, "no tar header, or a damaged one (wrong checksum)")
    if not 0 <= num_bytes < _MOST_BYTES:
        raise _HeaderError(offset, "a header with an impossible size")
    name, prefix = _text(block[:100]), b""
    if block[257:263] == b"ustar\0":  # GNU's own format keeps other things there
        prefix = _text(block[345:500])
    return _Header(block[156:157], prefix + b"/" + name if prefix else name, num_bytes, bool(block[482]))


def _has_checksum(block: bytes, checksum: int) -> bool:
    """Whether it is the sum of a header's bytes, its own taken as spaces; old programs summed signed bytes."""
    counted = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(counted)
    return checksum == unsigned or checksum == unsigned - 256 * sum(byte >> 7 for byte in counted)


def _number(digits: bytes) -> int:
    """A header's number: octal digits, or (GNU) binary, marked by the highest bit."""
    if digits[0] & 0x80:
        # A negative one becomes large, which is as impossible.
        return int.from_bytes(digits, "big") - (1 << (8 * len(digits) - 1))
    text = _text(digits).strip(b" ")
    if text and not text.isdigit():  # int() would take signs and underscores
        raise ValueError("no octal number")
    return int(text or b"0", 8)


def _text(data: bytes) -> bytes:
    return data.partition(b"\0")[0]


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _extend(extensions: _Extensions, header: _Header, content: RandomAccess, offset: int) -> None:
    if header.num_bytes > _MOST_EXTENSION_BYTES:
        raise _HeaderError(offset, f"an extended header of {header.num_bytes:,} bytes")
    data = content.read_at(header.num_bytes, offset + BLOCK_BYTES)
    if len(data) < header.num_bytes:
        raise _HeaderError(offset, "the archive ends in a header")
    if header.kind == _LONG_NAME:
        extensions.long_name = _text(data)
    elif header.kind in _PAX:
        for key, value in _pax_records(data, offset):
            _apply(extensions, key, value, offset)


def _pax_records(data: bytes, offset: int) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each record: its length in decimal digits, a space, key, equals sign, value, line feed."""
    position = 0
    while position < len(data):
        digits = data[position : position + 20].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        record = data[position : position + length]
        if len(record) != length or not record.endswith(b"\n"):
            raise _HeaderError(offset, "a damaged extended header")
        key, _, value = record[len(digits) + 1 : -1].partition(b"=")
        yield key, value
        position += length


def _apply(extensions: _Extensions, key: bytes, value: bytes, offset: int) -> None:
    if key == b"path":
        extensions.path = value
    elif key == b"size":
        if not value.isdigit() or len(value) > 20 or int(value) >= _MOST_BYTES:
            raise _HeaderError(offset, "a header with an impossible size")
        extensions.num_bytes = int(value)
    elif key.startswith(b"GNU.sparse."):
        extensions.sparse = True
        extensions.sparse_name = value if key == b"GNU.sparse.name" else extensions.sparse_name


def _after_sparse_map(content: RandomAccess, position: int) -> int:
    """Where the data of an old GNU sparse file begins, whose map goes on in blocks of its own."""
    goes_on = True
    while goes_on:
        block = content.read_at(BLOCK_BYTES, position)
        if len(block) < BLOCK_BYTES:
            raise _HeaderError(position, "the archive ends in a header")
        position += BLOCK_BYTES
        goes_on = bool(block[504])
    return position

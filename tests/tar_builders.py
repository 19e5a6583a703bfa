"""Builds tars, as programs write them and as no program should."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK = 512


@dataclass(frozen=True)
class Entry:
    """A member to be; kinds without data are written without it."""

    name: bytes
    data: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""


def pack(entries: Sequence[Entry], format_: int = tarfile.GNU_FORMAT, *, compress: bool = False) -> bytes:
    """A tar of these members, in this order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format_, encoding="utf-8", errors="surrogateescape") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name.decode("utf-8", errors="surrogateescape"))
            info.type, info.linkname = entry.kind, entry.link
            info.size = len(entry.data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(entry.data))
    return gzip.compress(buffer.getvalue(), 6) if compress else buffer.getvalue()


def header(name: bytes, size: bytes, kind: bytes = b"0", *, rest: bytes = b"", signed: bool = False) -> bytes:
    """A header block with a valid checksum.

    Args:
        name: up to 100 bytes.
        size: the field's bytes, as written.
        kind: of the member.
        rest: what follows the name of the link, from byte 257 on.
        signed: whether the checksum is that of signed bytes.
    """
    start = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size.ljust(12, b"\0") + b"00000000000\0"
    block = (start + b" " * 8 + kind + b"\0" * 100 + rest).ljust(BLOCK, b"\0")
    checksum = sum(block) - (256 * sum(byte >= 128 for byte in block) if signed else 0)
    return block[:148] + f"{checksum:06o}\0 ".encode() + block[156:]


def octal(number: int) -> bytes:
    """A size as headers hold it."""
    return f"{number:011o}\0".encode()


def padded(data: bytes) -> bytes:
    """Filled with zeros to whole blocks."""
    return data + b"\0" * (-len(data) % BLOCK)


def pax(records: dict[bytes, bytes], kind: bytes = b"x") -> bytes:
    """An extended header with its records."""
    body = b"".join(pax_record(key, value) for key, value in records.items())
    return header(b"PaxHeader", octal(len(body)), kind) + padded(body)


def pax_record(key: bytes, value: bytes) -> bytes:
    """One record, whose length counts its own digits."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest

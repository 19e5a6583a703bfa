"""Where the paths and addresses of a manifest lead, and where they may not."""

# Names are bytes here, since not every name is text; pathlib knows only text.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from caption_core.archive.sources.file_names import name_to_text, text_to_name
from caption_core.archive.storage import REMOTE_SCHEMES, has_keys, is_remote
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

WEB_SCHEMES = ("http", "https")

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://|(data|file):")
_SCHEME_BYTES = re.compile(_SCHEME.pattern.encode())
_AUTHORITY = re.compile(r"[^/?#]*")
# A password may itself hold a slash that should have been escaped; what stands where a port would is not a number then.
_NOT_A_PORT = re.compile(r"[^/?#@]*:(?!\d*(?:[/?#]|$))[^/?#@:]*(?:[/?#]|$)")


@dataclass(frozen=True, slots=True)
class Target:
    """A place to read from.

    Attributes:
        uri: an address; file:///… with percent signs for a local file, anything else as it was written.
        within: folder that the file must lie in, links counted; None for no such limit.
    """

    uri: str
    within: Path | None = None


@dataclass(frozen=True, slots=True)
class PathRules:
    """How a manifest's paths are understood.

    A path may not leave the folder that it is relative to, and nothing else may where that is closed; other absolute
    paths and addresses are read wherever they lead.

    Args:
        base: that relative paths start from: an absolute folder without links, or the address of a prefix.
        is_closed: whether nothing outside of `base` may be read.
    """

    base: str
    is_closed: bool = False

    @property
    def base_uri(self) -> str:
        """The base as an address."""
        return self.base if is_remote(self.base) else "file://" + quote_from_bytes(os.fsencode(self.base))

    def resolve(self, written: str) -> Target:
        """Where a path or an address leads.

        Args:
            written: an address, or a path in the form of `name_to_text`.

        Raises:
            ImageError: REFUSED or BAD_REFERENCE.
        """
        if has_credentials(written):
            raise ImageError(ErrorKind.REFUSED, "an address with a user or a password in it")
        if "\0" in written:
            raise ImageError(ErrorKind.BAD_REFERENCE, "a zero byte in the path")
        scheme = _SCHEME.match(written)
        if scheme is None:
            return self._path(text_to_name(written))
        if (scheme[1] or scheme[2]).lower() == "file":
            return self._path(_path_of_uri(written))
        return self._address(written, (scheme[1] or scheme[2]).lower())

    def _address(self, written: str, scheme: str) -> Target:
        if scheme not in (*REMOTE_SCHEMES, *WEB_SCHEMES):
            raise ImageError(ErrorKind.BAD_REFERENCE, f"addresses that begin with {scheme}: can't be read")
        if self.is_closed:
            raise ImageError(ErrorKind.REFUSED, "an address, where only files in the image root may be read")
        return Target(scheme + written[len(scheme) :])

    def _path(self, name: bytes) -> Target:
        if is_remote(self.base) and not name.startswith(b"/"):
            return Target(_join_key(self.base, name_to_text(name)))
        if name.startswith(b"/") and not self.is_closed:
            return Target("file://" + quote_from_bytes(name))
        base = os.fsencode(self.base)
        path = os.path.join(base, name)
        if not os.path.normpath(path).startswith(os.path.join(base, b"")):
            where = "the image root" if self.is_closed else "the manifest's folder"
            raise ImageError(ErrorKind.REFUSED, f"a path that leads out of {where}")
        return Target("file://" + quote_from_bytes(path), Path(self.base))


def path_text(name: bytes, *, any_bytes: bool) -> str:
    """A path or an address as `PathRules` takes it.

    Args:
        name: as it stands in the manifest.
        any_bytes: whether bytes that aren't UTF-8 are part of a file's name.

    Raises:
        ImageError: BAD_REFERENCE, it isn't UTF-8.
    """
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        if not any_bytes or _SCHEME_BYTES.match(name):
            raise ImageError(ErrorKind.BAD_REFERENCE, "it is not UTF-8") from None
        return name_to_text(name)
    return text if _SCHEME.match(text) else name_to_text(name)


def has_credentials(written: str) -> bool:
    """Whether an address has a user or a password in it."""
    scheme = _SCHEME.match(written)
    if scheme is None or not scheme[1]:
        return False
    rest = written[scheme.end() :]
    authority = _AUTHORITY.match(rest)
    if has_keys(scheme[1].lower(), authority[0] if authority else ""):
        return True
    return "@" in rest and _NOT_A_PORT.match(rest) is not None


def without_credentials(written: str) -> str:
    """An address with asterisks in place of a user and a password."""
    if not has_credentials(written):
        return written
    scheme, separator, rest = written.partition("://")
    _, at, place = rest.rpartition("@")
    return f"{scheme}{separator}***{at}{place if at else ''}"


def _path_of_uri(uri: str) -> bytes:
    rest = uri[len("file:") :]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise ImageError(ErrorKind.BAD_REFERENCE, "a file address of another machine")
        rest = slash + path
    if not rest.startswith("/"):
        raise ImageError(ErrorKind.BAD_REFERENCE, "a file address without an absolute path")
    path_bytes = unquote_to_bytes(rest)
    if b"\0" in path_bytes:
        raise ImageError(ErrorKind.BAD_REFERENCE, "a zero byte in the path")
    return path_bytes


def _join_key(prefix: str, key: str) -> str:
    """The address of an object below a prefix."""
    if ".." in key.split("/"):
        key = posixpath.normpath(key)
        if key.split("/")[0] == "..":
            raise ImageError(ErrorKind.REFUSED, "a path that leads out of the manifest's folder")
    return f"{prefix}/{key}"

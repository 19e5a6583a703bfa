"""A folder on whatever file system: this machine's, or an object store through PyArrow's file systems.

One rule for all of them: a file is there whole, or not at all.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from caption_core.archive.store_errors import cause_of
from caption_core.errors import CapstanError, UsageError

REMOTE_SCHEMES = ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss")
BUCKET_SCHEMES = ("s3", "gs", "gcs")
"""Where a bucket's name follows: it holds no colon, while a host's may have a port after one."""

# What `moved_into_place` writes to first; readers of Parquet folders pass over a name that starts with a dot.
_TEMPORARY_NAME = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)
# What file systems answer that can't sync a folder, or let nobody open one.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM)

_OPTIONS = re.compile(r"\?\w+=[^/]*$")  # PyArrow's: s3://bucket/folder?region=eu-west-1
_SCHEMES = ", ".join(f"{scheme}://" for scheme in REMOTE_SCHEMES)
_NOT_A_PORT = re.compile(r":(?!\d*$)")
_ENVIRONMENT = (
    "it ends up in logs and in rows. Say it where the store's own tools look, on all machines "
    "(AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ~/.aws/credentials, a role …)"
)


def is_remote(location: str) -> bool:
    """Whether a location is an address of an object store or a distributed file system."""
    return location.partition("://")[0] in REMOTE_SCHEMES and "://" in location


def split_address(address: str) -> tuple[str, str]:
    """Split s3://bucket/folder/photo.jpg into s3://bucket and folder/photo.jpg."""
    scheme, _, rest = address.partition("://")
    authority, _, key = rest.partition("/")
    return f"{scheme}://{authority}", key


def open_file_system(address: str) -> tuple[fs.FileSystem, str]:
    """The file system of an address such as s3://bucket/folder, and the path in it.

    What follows the bucket is taken as it stands: a percent sign is one, and nothing has to be escaped.

    Raises:
        UsageError: the address can't be used; what it says of keys is not repeated.
    """
    root, key = split_address(address)
    check_address(address)
    file_system, top = open_store(root)
    return file_system, path_in(file_system, top, key).rstrip("/")


def check_address(address: str) -> None:
    """See to it that an address names a place and nothing else.

    Raises:
        UsageError: it holds keys or options, which the message doesn't repeat, or isn't text.
    """
    check_no_keys(address)
    scheme, _, authority = split_address(address)[0].partition("://")
    if "?" in authority or "#" in authority or _OPTIONS.search(address):
        raise UsageError(f"{scheme}://…: no options in an address, please: {_ENVIRONMENT}")
    if not _is_text(address):
        raise UsageError(f"{address!r}: not UTF-8")


def check_no_keys(address: str) -> None:
    """See to it that an address may be repeated.

    Raises:
        UsageError: it holds keys, or what may be keys; the message doesn't repeat them.
    """
    scheme, _, authority = split_address(address)[0].partition("://")
    if has_keys(scheme, authority):
        raise UsageError(f"{scheme}://…: no keys in an address, please: {_ENVIRONMENT}")


def open_store(root: str) -> tuple[fs.FileSystem, str]:
    """The file system of a bucket, a container or a name node, such as s3://bucket, and the path of its top.

    Raises:
        UsageError: the address can't be used.
    """
    check_address(root)
    # Small files then are one request to write, and not three.
    options = "?allow_delayed_open=true" if root.startswith("s3://") else ""
    try:
        file_system, top = fs.FileSystem.from_uri(f"{root}/{options}")
    except (pa.ArrowException, OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{root}: can't be used: {cause_of(error)}") from error
    return file_system, top.rstrip("/")


def path_in(file_system: fs.FileSystem, top: str, key: str) -> str:
    """The path of what lies below a store's top."""
    path = f"{top}/{key}"
    return path if top or isinstance(file_system, fs.HadoopFileSystem) else key


def has_keys(scheme: str, authority: str) -> bool:
    """Whether more than a place is named: abfss://container@account is one, gs://anonymous@bucket asks for no key.

    A secret may itself hold a slash that should have been escaped; the authority ends there, and has no at sign then.
    """
    user, at, _ = authority.rpartition("@")
    if scheme in BUCKET_SCHEMES and ":" in authority:
        return True
    if not at and scheme in REMOTE_SCHEMES and _NOT_A_PORT.search(authority.rpartition("]")[2]):
        return True
    if not at or (scheme in ("gs", "gcs") and user == "anonymous"):
        return False
    return ":" in user or scheme not in ("abfs", "abfss")


def _is_text(path: str) -> bool:
    """Whether a path or an address is UTF-8, which PyArrow's file systems need."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _local_path(text: str) -> str:
    if not _is_text(text):
        raise UsageError(f"{text!r}: not UTF-8")
    try:
        path = Path(text).resolve()
        with suppress(FileNotFoundError):
            path.stat()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links is a RuntimeError up to Python 3.12
        raise UsageError(f"{text}: can't be used: {cause_of(error)}") from error
    if not _is_text(str(path)):
        raise UsageError(f"{str(path)!r}: not UTF-8")
    return str(path)


@dataclass(frozen=True)
class Storage:
    """A folder to write to and to read from; picklable, and the same folder on every machine.

    Attributes:
        location: the folder as people name it: an absolute path, or an address.
        file_system: PyArrow's.
        path: of the folder in that file system.
    """

    location: str
    file_system: fs.FileSystem
    path: str

    @classmethod
    def at(cls, location: str | Path) -> Storage:
        """The storage at a path or an address; nothing is made or looked up.

        Raises:
            UsageError: the path or the address can't be used.
        """
        text = str(location)
        if not text:
            raise UsageError("an empty text names no folder; the working directory is .")
        if is_remote(text):
            return cls(text.rstrip("/"), *open_file_system(text))
        if "://" in text:
            scheme = text.partition("://")[0]
            raise UsageError(f"{scheme}://…: can't write there; give a folder, or one of {_SCHEMES}")
        path = _local_path(text)
        return cls(path, fs.LocalFileSystem(), path)

    @property
    def local_folder(self) -> Path | None:
        """The folder as a path, where it is in this machine's file system."""
        return Path(self.path) if isinstance(self.file_system, fs.LocalFileSystem) else None

    def __str__(self) -> str:
        return self.location

    def sub(self, name: str) -> Storage:
        """A folder in this one."""
        return Storage(f"{self.location}/{name}", self.file_system, f"{self.path}/{name}")

    def make(self) -> None:
        """Make the folder, where file systems have folders; in a store of objects what stands for one."""
        self.file_system.create_dir(self.path, recursive=True)

    def make_for_files(self) -> None:
        """Make the folder where files need one: objects don't."""
        if self._can_move():
            self.make()

    def is_there(self) -> bool:
        """Whether the folder is there."""
        return bool(self.file_system.get_file_info(self.path).type != fs.FileType.NotFound)

    def names(self) -> list[str]:
        """Names of the files directly in the folder, sorted; none where the folder is missing."""
        return sorted(info.base_name for info in self._entries() if info.type != fs.FileType.Directory)

    def folder_names(self) -> list[str]:
        """Names of the folders directly in the folder, sorted."""
        return sorted(info.base_name for info in self._entries() if info.type == fs.FileType.Directory)

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return bool(self._info(name).type == fs.FileType.File)

    def num_bytes(self, name: str) -> int:
        """Size of a file in bytes; -1 where it isn't there."""
        info = self._info(name)
        return int(info.size) if info.type == fs.FileType.File else -1

    def open_input(self, name: str) -> pa.NativeFile:
        """A file for random access.

        Raises:
            OSError: it can't be opened.
        """
        return self.file_system.open_input_file(self._full(name))

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            OSError: it can't be read.
        """
        with self.open_input(name) as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file whole or not at all; replaces one of the same name.

        On this machine under a temporary name that is then moved; in a store of objects as one object, which is there
        once it is complete.

        Raises:
            OSError: the file system refuses (no space, no permission); nothing is left behind.
        """
        if self._can_move():
            with self.moved_into_place(name) as target:
                self._write(target, data)
            return
        # Closing a stream, which the garbage collector does too, makes an object of what it has got so far: a signal's
        # exception between opening and writing would leave an empty one. Signals interrupt only the main thread.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._write, self._full(name), data).result()

    @contextmanager
    def moved_into_place(self, name: str) -> Iterator[str]:
        """Yields the path to write to; at the end the file stands under its name, or, after an error, nowhere.

        In a store of objects an earlier file of the same name is lost in the error; `write` keeps it.
        """
        if not self._can_move():
            try:
                yield self._full(name)
            except BaseException:
                self.delete(name)  # closing a stream early makes an object of what it has got so far
                raise
            return
        temporary = self._full(f".{name}.{secrets.token_hex(8)}.tmp")
        try:
            yield temporary
            self._sync(temporary)
            self.file_system.move(temporary, self._full(name))
        except BaseException:
            self.delete(temporary.rpartition("/")[2])
            raise
        self._sync_folder()

    def delete(self, name: str) -> None:
        """Delete a file, if it is there."""
        try:
            self.file_system.delete_file(self._full(name))
        except OSError:
            if self.exists(name):
                raise

    def remove_temporaries(self) -> int:
        """Delete what killed writers left half-written directly in the folder; returns the number of files."""
        leftovers = [name for name in self.names() if _TEMPORARY_NAME.fullmatch(name)]
        for name in leftovers:
            self.delete(name)
        return len(leftovers)

    def delete_all(self) -> None:
        """Delete the folder and everything in it, if it is there."""
        if self.is_there():
            self.file_system.delete_dir(self.path)

    def _write(self, path: str, data: bytes | pa.Buffer) -> None:
        with self.file_system.open_output_stream(path) as file:
            file.write(data)

    def _full(self, name: str) -> str:
        if "/" in name or name in ("", ".", ".."):
            raise CapstanError(f"{name!r}: not the name of a file in {self.location}")
        return f"{self.path}/{name}"

    def _entries(self) -> list[fs.FileInfo]:
        return list(self.file_system.get_file_info(fs.FileSelector(self.path, allow_not_found=True)))

    def _info(self, name: str) -> fs.FileInfo:
        return self.file_system.get_file_info(self._full(name))

    def _can_move(self) -> bool:
        # A store of objects has no renaming (Arrow would copy); an object appears when its upload is complete.
        return isinstance(self.file_system, (fs.LocalFileSystem, fs.HadoopFileSystem))

    def _sync_folder(self) -> None:
        """After a move, when the file is there: what can't be synced is no failure any more."""
        try:
            self._sync(self.path)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise

    def _sync(self, path: str) -> None:
        """Before a move: a power cut may not leave the final name on a file without content."""
        if self.local_folder is None:
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

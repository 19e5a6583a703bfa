"""A folder on a file system: what is written is there whole or not at all, on a disk and in an object store."""

from __future__ import annotations

import pickle
import signal
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pytest
from pyarrow import fs

from caption_core.archive.storage import Storage, is_remote, open_file_system, open_store, split_address
from caption_core.errors import CapstanError, UsageError
from tests.s3_server import S3Server


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty folder that was made."""
    if request.param == "local":
        storage = Storage.at(tmp_path / "out put")
    else:
        storage = Storage.at(f"{request.getfixturevalue('s3').address}/{uuid4()}/out put%20#?")
    storage.make()
    return storage


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def break_off(storage: Storage, name: str) -> None:
    with storage.moved_into_place(name) as path, storage.file_system.open_output_stream(path) as file:
        file.write(b"half of it")
        raise ZeroDivisionError


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write("a", b"content")
    storage.write("empty", b"")
    storage.write("buffer", pa.py_buffer(b"from a buffer"))
    assert (storage.read("a"), storage.read("empty"), storage.read("buffer")) == (b"content", b"", b"from a buffer")
    assert (storage.num_bytes("a"), storage.num_bytes("empty"), storage.num_bytes("nothing")) == (7, 0, -1)
    assert storage.exists("empty")
    assert not storage.exists("nothing")


def test_what_is_larger_than_one_part_of_an_upload(storage: Storage) -> None:
    data = bytes(range(256)) * (12 << 12)
    storage.write("a", data)
    assert storage.read("a") == data


def test_a_file_is_replaced(storage: Storage) -> None:
    storage.write("a", b"a long first version")
    storage.write("a", b"second")
    assert storage.read("a") == b"second"
    assert storage.names() == ["a"]


def test_random_access(storage: Storage) -> None:
    storage.write("a", b"0123456789")
    with storage.open_input("a") as file:
        assert (file.size(), file.read_at(3, 5)) == (10, b"567")


def test_names_are_sorted_and_those_of_files(storage: Storage) -> None:
    for name in ("b", "_c", "a.parquet", "ż ółw#?%41"):
        storage.write(name, b"x")
    storage.sub("folder").make()
    storage.sub("folder").write("inside", b"y")
    assert storage.names() == ["_c", "a.parquet", "b", "ż ółw#?%41"]
    assert storage.folder_names() == ["folder"]
    assert storage.sub("folder").read("inside") == b"y"
    assert not storage.exists("folder")


def test_a_missing_folder_has_no_files(storage: Storage) -> None:
    missing = storage.sub("missing")
    assert missing.names() == []
    assert not missing.is_there()
    assert not missing.exists("a")
    missing.delete("a")
    missing.delete_all()


def test_deleting(storage: Storage) -> None:
    for name in ("a", "b"):
        storage.write(name, b"x")
    storage.delete("a")
    storage.delete("a")
    assert storage.names() == ["b"]
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    storage.sub("folder").make()
    storage.sub("folder").write("inside", b"y")
    storage.delete_all()
    assert not storage.is_there()
    assert storage.sub("folder").names() == []


def test_a_neighbour_with_the_same_beginning_is_not_deleted(storage: Storage) -> None:
    for name in ("in", "input"):
        storage.sub(name).make()
        storage.sub(name).write("a", b"x")
    storage.sub("in").delete_all()
    assert storage.sub("input").names() == ["a"]


def test_an_error_while_writing_leaves_nothing(storage: Storage) -> None:
    with pytest.raises(ZeroDivisionError):
        break_off(storage, "a")
    assert storage.names() == []


def test_nothing_is_visible_before_the_end(storage: Storage) -> None:
    with storage.moved_into_place("a") as path:
        file = storage.file_system.open_output_stream(path)
        file.write(b"half")
        assert not storage.exists("a")
        file.write(b" and half")
        file.close()
    assert storage.names() == ["a"]
    assert storage.read("a") == b"half and half"


def test_a_folder_that_may_not_be_written_to_keeps_what_it_has(users_folder: Path) -> None:
    storage = Storage.at(users_folder)
    storage.write("a", b"first")
    users_folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OSError, match="denied"):
        storage.write("a", b"second")
    assert storage.names() == ["a"]
    assert storage.read("a") == b"first"


def test_a_store_that_fails_keeps_what_it_has(s3: S3Server) -> None:
    bucket = s3.new_bucket()
    storage = Storage.at(f"{bucket.address}/locked")
    storage.write("a", b"first")
    bucket.deny("locked/")
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        storage.write("a", b"second")
    bucket.allow()
    assert storage.read("a") == b"first"


class InterruptedStore(fs.FSSpecHandler):  # type: ignore[misc]
    """A store in which somebody presses Ctrl-C between opening a stream and writing to it."""

    def open_output_stream(self, path: str, metadata: Any) -> pa.PythonFile:
        stream = super().open_output_stream(path, metadata)
        signal.raise_signal(signal.SIGINT)
        return stream


def test_an_interrupted_write_to_a_store_is_whole() -> None:
    store = fs.PyFileSystem(InterruptedStore(fsspec.filesystem("memory", skip_instance_cache=True)))
    storage = Storage("store", store, f"/{uuid4()}")
    storage.make()
    earlier = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            storage.write("a", b"content")
    finally:
        signal.signal(signal.SIGINT, earlier)
    assert storage.read("a") == b"content"


def test_a_copy_elsewhere_is_the_same_folder(storage: Storage) -> None:
    storage.write("a", b"content")
    copy = pickle.loads(pickle.dumps(storage))
    assert copy.read("a") == b"content"
    assert (str(copy), copy.local_folder) == (str(storage), storage.local_folder)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/etc/passwd"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    storage = Storage.at(tmp_path)
    for use in (storage.read, storage.exists, storage.delete, lambda name: storage.write(name, b"x")):
        with pytest.raises(CapstanError, match="not the name of a file"):
            use(name)


def test_a_local_folder_is_known_as_a_path(tmp_path: Path, s3: S3Server) -> None:
    (tmp_path / "link").symlink_to("real")
    assert Storage.at(tmp_path / "link").local_folder == tmp_path.resolve() / "real"
    assert Storage.at(s3.address).local_folder is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("s3://AKIAEXAMPLE:topsecret@bucket/a", "no keys"),
        ("s3://AKIAEXAMPLE@bucket/a", "no keys"),
        ("gs://topsecret@bucket/a", "no keys"),
        ("abfss://:topsecret@account/a", "no keys"),
        ("s3://bucket?endpoint_override=topsecret/a", "no options"),
        ("s3://bucket/a?region=eu-west-1&secret_key=topsecret", "no options"),
        ("s3:///a", "can't be used"),
    ],
)
def test_an_address_holds_a_place_and_nothing_else(address: str, words: str) -> None:
    for use in (open_file_system, Storage.at):
        with pytest.raises(UsageError, match=words) as caught:
            use(address)
        assert "topsecret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("abfss://container@account.dfs.core.windows.net/a/b", "container/a/b"),
        ("gs://anonymous@bucket/a", "bucket/a"),
    ],
)
def test_what_belongs_to_a_place_may_stand_before_an_at_sign(address: str, path: str) -> None:
    assert open_file_system(address)[1] == path


@pytest.mark.parametrize("address", ["https://example.org/a", "ftp://example.org", "file:///tmp/a"])
def test_addresses_that_nothing_can_be_written_to(address: str) -> None:
    with pytest.raises(UsageError, match="can't write there"):
        Storage.at(address)


def test_a_bucket_alone_is_a_folder(s3: S3Server) -> None:
    bucket = Storage.at(s3.new_bucket().address + "/")
    bucket.write("a", b"x")
    assert (bucket.names(), bucket.is_there()) == (["a"], True)


@pytest.mark.usefixtures("s3")
def test_what_follows_the_bucket_is_taken_as_it_stands() -> None:
    assert split_address("s3://bucket/a b/%20#?") == ("s3://bucket", "a b/%20#?")
    assert open_file_system("s3://bucket/a b/%20#?/")[1] == "bucket/a b/%20#?"
    assert open_store("s3://bucket")[1] == "bucket"


@pytest.mark.parametrize(
    ("location", "remote"),
    [("s3://b/a", True), ("gs://b", True), ("hdfs://h/a", True), ("/a/s3://b", False), ("s3", False), ("s3:b", False)],
)
def test_what_is_remote(location: str, remote: bool) -> None:
    assert is_remote(location) is remote

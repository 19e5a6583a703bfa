"""A folder on a file system: what is written is there whole or not at all, on a disk and in an object store."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import signal
import stat
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import pyarrow as pa
import pytest
from pyarrow import fs

from caption_core.archive.storage import Storage, has_keys, is_remote, open_file_system, open_store, split_address
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
        ("s3://AKIAEXAMPLE:topsecret@bucket/a?region=eu-west-1", "no keys"),
        ("s3://AKIAEXAMPLE:topsecret/def@bucket", "no keys"),
        ("s3://AKIAEXAMPLE:topsecret?region=eu/def@bucket", "no keys"),
        ("gs://topsecret:9000/a", "no keys"),
        ("abfss://container:topsecret/def@account/a", "no keys"),
        ("hdfs://user:topsecret/def@host/a", "no keys"),
        ("s3://topsecret/a?region=eu-west-1", "no options"),
        ("s3://bucket/a\udcff", "not UTF-8"),
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


@pytest.mark.parametrize("address", ["https://user:topsecret@example.org/a", "S3://AKIAEXAMPLE:topsecret@bucket/a"])
def test_keys_in_an_address_of_another_kind_are_not_repeated(address: str) -> None:
    with pytest.raises(UsageError, match="can't write there") as caught:
        Storage.at(address)
    assert "topsecret" not in str(caught.value)


def test_a_port_is_no_key() -> None:
    assert not has_keys("hdfs", "host:9000")
    assert not has_keys("hdfs", "[::1]:9000")
    assert not has_keys("abfs", "host:10000")


@pytest.mark.parametrize("path", ["", "loop", "loop/in/it", "x" * 300, "a\udcff", "a\0b", "file/below"])
def test_a_path_that_cannot_be_used_is_told(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        Storage.at(path)


def test_a_folder_whose_real_name_is_not_text_is_told(tmp_path: Path) -> None:
    real = tmp_path / os.fsdecode(b"\xff")
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    with pytest.raises(UsageError, match="not UTF-8"):
        Storage.at(tmp_path / "link")


def test_what_killed_writers_left_is_removed(storage: Storage) -> None:
    ours = [f".{name}.{'0123456789abcdef'}.tmp" for name in ("part-00000.parquet", "run.json", "a b")]
    others = [".a.tmp", ".a.0123.tmp", "a.0123456789abcdef.tmp", ".a.0123456789abcdef.tmp.parquet", "a"]
    for name in (*ours, *others):
        with storage.file_system.open_output_stream(f"{storage.path}/{name}") as file:
            file.write(b"half")
    storage.sub("folder").make()
    storage.sub("folder").write(ours[0], b"x")
    assert storage.remove_temporaries() == 3
    assert storage.names() == sorted(others)
    assert storage.sub("folder").names() == [ours[0]]
    assert storage.remove_temporaries() == 0


def test_a_killed_write_leaves_what_is_removed(tmp_path: Path) -> None:
    storage = Storage.at(tmp_path)
    with storage.moved_into_place("run.json") as path:
        Path(path).write_bytes(b"{}")
        shutil.copy(path, f"{path}.copy")
    Path(f"{path}.copy").rename(path)
    assert storage.remove_temporaries() == 1
    assert storage.names() == ["run.json"]


@pytest.mark.parametrize("refusal", [errno.EINVAL, errno.ENOTSUP])
def test_a_folder_that_cannot_be_synced_is_no_failure(
    tmp_path: Path, refusal: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(refusal, os.strerror(refusal))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    storage = Storage.at(tmp_path)
    storage.write("a", b"content")
    assert storage.read("a") == b"content"
    assert storage.names() == ["a"]


def test_a_folder_that_fails_to_sync_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "input/output error")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    with pytest.raises(OSError, match="input/output"):
        Storage.at(tmp_path).write("a", b"content")


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

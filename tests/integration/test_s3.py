"""The whole job on an object store: input, output, a killed driver, and resuming."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from caption_core.archive.parts import list_parts
from caption_core.archive.run_status import read_status
from caption_core.archive.storage import Storage
from tests.builders import Colour, colour_of, plain
from tests.fake_captioner import expected_caption
from tests.integration.ray_head import clean_environment, kill_session
from tests.s3_server import S3Server, s3_server

ROOT = Path(__file__).resolve().parents[2]
NUM_IMAGES = 80

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def colours(store: S3Server) -> dict[str, Colour]:
    """The images of the store below photos/, by image id."""
    colours = {f"{index % 3}/{index:03d}.png": colour_of(index) for index in range(NUM_IMAGES)}
    for name, colour in colours.items():
        store.put(f"photos/{name}", plain(colour))
    return colours


def start(source: str, output: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fake_run", source, output, "--shard-size=8", *options],
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(source: str, output: str) -> str:
    process = start(source, output)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def captions(output: Storage) -> dict[str, str | None]:
    table = ds.dataset(output.path, filesystem=output.file_system, format="parquet").to_table()
    names = table["image_id"].to_pylist()
    assert len(set(names)) == len(names)
    return dict(zip(names, table["caption"].to_pylist(), strict=True))


def test_a_run_that_is_killed_and_resumed(store: S3Server, colours: dict[str, Colour]) -> None:
    source, address = f"{store.address}/photos", f"{store.address}/captions"
    output = Storage.at(address)
    first = start(source, address, "--delay-s=0.1")
    try:
        end_s = time.monotonic() + 200
        while len(list_parts(output)) < 3:
            assert first.poll() is None, first.communicate()[0]
            assert time.monotonic() < end_s
            time.sleep(0.1)
        assert read_status(output).state == "running"
    finally:
        kill_session(first.pid)
    assert first.wait() == -signal.SIGKILL
    finished = list_parts(output)
    assert 3 <= len(finished) < NUM_IMAGES // 8

    said = finish(source, address)
    assert f"{8 * len(finished)} of them were finished by an earlier run" in said
    assert captions(output) == {name: expected_caption(colour) for name, colour in colours.items()}
    assert read_status(output).state == "finished"
    assert set(output.names()) == {*list_parts(output).values(), "_SUCCESS", ".huggingface.yaml"}
    assert "nothing to do" in finish(source, address)


def test_one_image_that_is_gone_and_a_manifest_of_addresses(
    store: S3Server, colours: dict[str, Colour], tmp_path: Path
) -> None:
    names = list(colours)[:9]
    lines = [f"{store.address}/photos/{name}" for name in [*names, "gone.png"]]
    manifest = store.put("lists/some.csv", ("path\n" + "\n".join(lines)).encode())
    said = finish(manifest, str(tmp_path / "out"))
    assert "10 images = 9 captioned + 1 failed (1 not_found)" in said


def test_a_bucket_that_is_not_there() -> None:
    process = start("s3://no-such-bucket-anywhere/photos", "s3://no-such-bucket-anywhere/out")
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 2
    (line,) = said.splitlines()
    assert line.startswith("error: s3://no-such-bucket-anywhere/photos: ")

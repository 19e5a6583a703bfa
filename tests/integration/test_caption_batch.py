"""The job as users start it, with a real bundle: by itself, on a cluster, and as a submitted job."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from caption_core.images import ImageLimits, decode_image
from caption_core.records import OUTPUT_SCHEMA
from jobs.caption_batch import main
from jobs.command_line import run_command
from tests.builders import plain, write_file, write_hostile_folder
from tests.bundle_builders import SyntheticSet
from tests.integration.ray_head import RayHead, clean_environment, running_head

ROOT = Path(__file__).resolve().parents[2]
JOB = ROOT / "jobs" / "caption_batch.py"

pytestmark = pytest.mark.timeout(400)
slow = pytest.mark.slow


def job(*arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), *map(str, arguments)]
    env = clean_environment() | environment
    return subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, timeout=300)


def captions(output: Path) -> dict[str, str | None]:
    table = ds.dataset(output, format="parquet").to_table()
    assert table.schema.names == OUTPUT_SCHEMA.names
    return dict(zip(table["image_id"].to_pylist(), table["caption"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def expected(synthetic_set: SyntheticSet, tiny_int8_bundle: Path) -> dict[str, str | None]:
    """What the bundle says of the synthetic photographs without any job."""
    captioner = load_captioner(tiny_int8_bundle)
    found: dict[str, str | None] = {}
    for path in sorted((synthetic_set.folder / "images").iterdir()):
        image = decode_image(path.read_bytes(), captioner.image_size, ImageLimits())
        found[path.name] = captioner.caption(image.pixels[None])[0].text
    assert len(set(found.values())) > 3, "a captioner that always says the same would prove nothing"
    return found


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with running_head(cpus=2) as started:
        yield started


@slow
def test_on_a_ray_of_its_own(
    synthetic_set: SyntheticSet, tiny_int8_bundle: Path, expected: dict[str, str | None], tmp_path: Path
) -> None:
    images = tmp_path / "in"
    for path in (synthetic_set.folder / "images").iterdir():
        write_file(images / path.name, path.read_bytes())
    hostile = write_hostile_folder(images / "hostile", tmp_path / "outside.png")
    done = job("--input", "in", "--output", "out", "--model", tiny_int8_bundle, "--cpus", 2, "--show", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    bad = {f"hostile/{name}": None for name in hostile}
    assert captions(tmp_path / "out") == expected | bad
    total = len(expected) + len(bad)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["image", "score", "caption"]
    assert f"{total} images = {len(expected)} captioned + {len(bad)} failed" in lines[3]
    assert lines[-1] == f"captions in {tmp_path / 'out'} (1 Parquet part)"
    assert f"{total} / {total} images (100 %)" in done.stderr

    footer = json.loads(pq.read_metadata(tmp_path / "out" / "part-00000.parquet").metadata[b"capstan.settings"])
    assert footer["model_id"] == open_bundle(tiny_int8_bundle).model_id
    assert footer["num_images"] == total


@slow
def test_the_driver_loads_no_tensorflow(synthetic_set: SyntheticSet, tiny_int8_bundle: Path, tmp_path: Path) -> None:
    program = (
        "import runpy, sys\n"
        "try:\n"
        f"    runpy.run_path({str(JOB)!r}, run_name='__main__')\n"
        "finally:\n"
        "    print('LOADED', *{'tensorflow', 'tf_keras', 'keras', 'ai_edge_litert'} & sys.modules.keys())\n"
    )
    arguments = ["--input", synthetic_set.folder / "images", "--output", tmp_path / "out", "--model", tiny_int8_bundle]
    command = [sys.executable, "-c", program, *map(str, arguments), "--cpus=1"]
    done = subprocess.run(command, env=clean_environment(), text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"


@slow
def test_on_an_existing_cluster_that_has_neither_package_nor_bundle(
    head: RayHead,
    synthetic_set: SyntheticSet,
    tiny_int8_bundle: Path,
    expected: dict[str, str | None],
    tmp_path: Path,
) -> None:
    arguments = ["--input", synthetic_set.folder / "images", "--output", "out", "--model", tiny_int8_bundle]
    done = job("--address", head.address, *arguments, "--actors", "1:2", cwd=tmp_path, **head.environment())
    assert done.returncode == 0, done.stderr
    assert captions(tmp_path / "out") == expected
    assert "on an existing Ray cluster: 1 actor" in done.stderr


@slow
def test_as_a_submitted_job_with_a_token(
    head: RayHead,
    synthetic_set: SyntheticSet,
    tiny_int8_bundle: Path,
    expected: dict[str, str | None],
    tmp_path: Path,
) -> None:
    arguments = ["--input", synthetic_set.folder / "images", "--output", tmp_path / "out", "--model", tiny_int8_bundle]
    done = head.submit(ROOT, sys.executable, "jobs/caption_batch.py", *map(str, arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    assert captions(tmp_path / "out") == expected
    assert "12 images = 12 captioned + 0 failed" in done.stdout

    refused = head.submit(ROOT, sys.executable, "jobs/caption_batch.py", *map(str, arguments), RAY_AUTH_TOKEN="f" * 64)
    assert refused.returncode != 0


@slow
def test_a_submitted_job_does_not_write_where_its_captions_would_be_deleted(
    head: RayHead, synthetic_set: SyntheticSet, tiny_int8_bundle: Path
) -> None:
    arguments = ["--input", synthetic_set.folder / "images", "--output", "captions", "--model", tiny_int8_bundle]
    done = head.submit(ROOT, sys.executable, "jobs/caption_batch.py", *map(str, arguments))
    assert done.returncode != 0
    assert "give an absolute path that the cluster's machines share" in done.stdout


@slow
def test_a_cluster_too_small_says_so_when_it_does_not_grow(
    head: RayHead, synthetic_set: SyntheticSet, tiny_int8_bundle: Path, tmp_path: Path
) -> None:
    arguments = ["--input", synthetic_set.folder / "images", "--output", "out", "--model", tiny_int8_bundle]
    size = ["--cpus-per-actor", 3, "--wait-s", 2]
    done = job("--address", head.address, *arguments, *size, cwd=tmp_path, **head.environment())
    assert done.returncode == 2
    assert "0 of 1 actors fit on the cluster; waiting up to 2 s for it to grow" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: an actor needs 3 CPUs, but the largest machine has 2"


@slow
def test_a_cluster_that_is_not_there(synthetic_set: SyntheticSet, tiny_int8_bundle: Path, tmp_path: Path) -> None:
    arguments = ["--input", synthetic_set.folder / "images", "--output", tmp_path / "out", "--model", tiny_int8_bundle]
    done = job("--address", "127.0.0.1:1", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: can't use an existing Ray cluster (127.0.0.1:1): Connection refused"
    )


WRONG: list[tuple[Sequence[str], str]] = [
    (["--output", "out"], "Missing option '--input'"),
    (["--input", "nowhere", "--output", "out"], "nowhere: no such folder"),
    (["--input", "in", "--output", "in/out"], "must not lie in one another"),
    (["--input", "in", "--output", "out", "--actors", "4:2"], "--actors 4:2: must be MIN:MAX"),
    (["--input", "in", "--output", "out", "--beam", "0"], "beam width must lie between 1 and 64"),
    (["--input", "in", "--output", "out", "--batch-size", "0"], "batch size must lie between"),
    (["--input", "in", "--output", "out", "--batch-size", "many"], "'many' is not a valid integer"),
    (["--input", "in", "--output", "out", "--max-pixels", "0"], "max pixels must be at least 1"),
    (["--input", "in", "--output", "out", "--model", "in"], "--model: in: no bundle here"),
    (["--input", "in", "--output", "out", "--precision", "bfloat16"], "only float bundles can, and it is compressed"),
    (
        ["--input", "in", "--output", "out", "--cpus", "1", "--decoders-per-actor", "1"],
        "1 actor of 1 CPU, with 1 CPU to decode",
    ),
    (["--input", "in", "--output", "out", "--decoders-per-actor", "-1"], "decoders per actor must lie between"),
    (["--input", "in", "--output", "out", "--precision", "int8"], "'int8' is not one of"),
    (["--input", "in", "--output", "out", "--address", "ray://x:1"], "ray job submit"),
    (["--input", "in", "--output", "out", "--colour"], "No such option"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    arguments: Sequence[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_file(tmp_path / "in" / "a.png", plain())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(JOB), *arguments])
    assert run_command(main) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert_one_line(printed.err, message)
    assert not (tmp_path / "out").exists()


def test_a_wrong_argument_ends_the_process_so(tmp_path: Path) -> None:
    done = job("--input", "nowhere", "--output", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert_one_line(done.stderr, "nowhere: no such folder")


def assert_one_line(printed: str, message: str) -> None:
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_help_names_every_command_and_option() -> None:
    done = job("--help")
    assert done.returncode == 0
    for command in ("plan", "run", "status", "failed"):
        assert f"\n  {command}" in done.stdout
    done = job("run", "--help")
    assert done.returncode == 0
    for option in ("--input", "--output", "--model", "--actors", "--beam", "--batch-size", "--shard-size", "--address"):
        assert option in done.stdout

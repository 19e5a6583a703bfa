"""Every hostile file is listed once and ends with the right kind, in bounded memory."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from caption_core.archive.refs import batch_to_refs
from caption_core.archive.sources.folder import FolderSource
from caption_core.errors import ImageError
from caption_core.images import FORMATS, ImageLimits, decode_image
from caption_core.records import ErrorKind
from tests.hostile_corpus import Kinds, Sample, kind_counts, make_samples, write_hostile_corpus

ROOT = Path(__file__).resolve().parent.parent
SIZE = (64, 64)
SMALL = ImageLimits(max_pixels=1 << 22, max_bytes=1 << 22)


def outcomes(folder: Path, limits: ImageLimits) -> Iterator[tuple[str, str, str]]:
    """(image id, error kind or `ok`, message) of each image, as it is listed, read and decoded."""
    source = FolderSource.at(folder)
    reader = source.open_reader()
    for batch in source.list_refs():
        refs = batch_to_refs(batch)
        reader.begin(refs)
        for ref in refs:
            data = reader.read(ref, limits.max_bytes).data
            try:
                if isinstance(data, ImageError):
                    raise data
                decode_image(data, SIZE, limits)
                yield ref.image_id, "ok", ""
            except ImageError as error:
                yield ref.image_id, error.kind.value, str(error)
    reader.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Kinds]]:
    folder = tmp_path_factory.mktemp("hostile")
    return folder / "in", write_hostile_corpus(folder / "in", folder / "outside.png")


def test_the_corpus_is_large_and_exact(corpus: tuple[Path, dict[str, Kinds]]) -> None:
    _, expected = corpus
    assert len(expected) >= 300
    exact = [name for name, kinds in expected.items() if len(kinds) == 1]
    assert len(exact) >= 300
    vague = {name.split("/")[0] for name in expected.keys() - set(exact)}
    assert vague <= {"cut", "flipped"}
    known = {kind.value for kind in ErrorKind} | {"ok"}
    assert all(kinds <= known for kinds in expected.values())


def test_every_file_ends_with_its_kind(corpus: tuple[Path, dict[str, Kinds]]) -> None:
    folder, expected = corpus
    found = list(outcomes(folder, ImageLimits()))
    assert sorted(name for name, *_ in found) == sorted(expected)
    wrong = {name: (kind, message) for name, kind, message in found if kind not in expected[name]}
    assert not wrong
    print(kind_counts({name: kind for name, kind, _ in found}))


def test_every_failure_has_one_line_of_words(corpus: tuple[Path, dict[str, Kinds]]) -> None:
    folder, _ = corpus
    failures = [(kind, message) for _, kind, message in outcomes(folder, ImageLimits()) if kind != "ok"]
    assert len({kind for kind, _ in failures}) == 8
    for _, message in failures:
        assert message.strip()
        assert "\n" not in message
        assert " at 0x" not in message  # an address, different each time
        assert str(folder.parent) not in message


def test_with_leniency_nothing_but_damaged_files_ends_better(corpus: tuple[Path, dict[str, Kinds]]) -> None:
    folder, expected = corpus
    for name, kind, message in outcomes(folder, ImageLimits(truncated=True)):
        allowed = expected[name] | ({"ok"} if "corrupt" in expected[name] else set())
        assert kind in allowed, (name, message)


def test_the_corpus_is_the_same_each_time(tmp_path: Path) -> None:
    first, second = (write_hostile_corpus(tmp_path / name / "in", tmp_path / name / "out.png") for name in "ab")
    assert first == second
    assert digest_of(tmp_path / "a" / "in") == digest_of(tmp_path / "b" / "in")


def digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        if os.access(path, os.R_OK) and path.stat().st_size < ImageLimits().max_bytes:
            digest.update(os.fsencode(path.relative_to(folder)) + b"\0" + path.read_bytes())
    return digest.hexdigest()


@pytest.mark.parametrize("sample", make_samples(), ids=lambda sample: sample.name)
def test_the_samples_are_sound(sample: Sample) -> None:
    if sample.format_ in FORMATS:
        assert decode_image(sample.data, SIZE, ImageLimits()).width in (40, 48)
    else:
        assert sample.format_ in ("AVIF", "HEIF")


# Reads and decodes everything twice, the second time leniently, with caps that make the corpus' largest images small.
# Prints the outcomes, and by how much the peak of resident memory grew, in bytes.
MEASURE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from tests.test_hostile_corpus import SMALL, outcomes

def peak():  # not getrusage's, which begins with that of the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = peak()
strict, lenient = (list(outcomes(Path(sys.argv[1]), limits)) for limits in (SMALL, replace(SMALL, truncated=True)))
print(json.dumps({"growth": peak() - before, "kinds": {name: kind for name, kind, _ in strict}, "again": len(lenient)}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux' /proc")
def test_memory_stays_bounded(tmp_path: Path) -> None:
    expected = write_hostile_corpus(tmp_path / "in", tmp_path / "outside.png", SMALL)
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(tmp_path / "in")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout)
    assert result["kinds"].keys() == expected.keys()
    assert all(kind in expected[name] for name, kind in result["kinds"].items())
    assert result["again"] == len(expected)
    # 20 bytes a pixel, the file thrice, what a PNG's texts may hold, and the libraries that are loaded on first use.
    assert result["growth"] < 20 * SMALL.max_pixels + 3 * SMALL.max_bytes + (64 << 20) + (48 << 20)
    print(f"grew by {result['growth'] / 2**20:.0f} MiB")

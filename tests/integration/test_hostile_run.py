"""Hundreds of hostile files through the whole job: each ends as one row of the right kind, and the run survives."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from caption_core.engine.captioning_config import CaptioningConfig
from caption_core.engine.captioning_run import run_captioning
from caption_core.engine.cluster import ClusterConfig
from caption_core.images import ImageLimits
from tests.fake_captioner import fake_spec
from tests.hostile_corpus import write_hostile_corpus

LIMITS = ImageLimits(max_bytes=8 << 20)
MEMBERS_AT_MOST = 1 << 20  # bytes; the corpus has sparse files of the cap's size, which a tar would hold in full

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def no_cluster_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def caption(source: Path, output: Path) -> dict[str, str]:
    """How each image ended, by image id."""
    config = CaptioningConfig((str(source),), str(output), limits=LIMITS, cluster=ClusterConfig(cpus=2))
    report = run_captioning(config, fake_spec(), io.StringIO())
    rows = ds.dataset(output, format="parquet").to_table(columns=["image_id", "error_kind"]).to_pylist()
    kinds = {row["image_id"]: row["error_kind"] or "ok" for row in rows}
    assert len(kinds) == len(rows) == report.counts.total
    return kinds


def assert_as_expected(kinds: dict[str, str], expected: dict[str, frozenset[str]]) -> None:
    assert kinds.keys() == expected.keys()
    # What decodes is captioned, or makes the captioner fail on purpose: its test colours may occur by chance.
    wrong = {name: kind for name, kind in kinds.items() if kind not in expected[name]}
    assert not wrong


def test_as_files(tmp_path: Path) -> None:
    expected = write_hostile_corpus(tmp_path / "in", tmp_path / "outside.png", LIMITS)
    assert len(expected) >= 300
    assert_as_expected(caption(tmp_path / "in", tmp_path / "out"), expected)


def test_as_members_of_a_tar(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    expected = write_hostile_corpus(folder, tmp_path / "outside.png", LIMITS)
    packed = {}
    with tarfile.open(tmp_path / "hostile.tar", "w", format=tarfile.PAX_FORMAT, dereference=True) as archive:
        for name, kinds in expected.items():
            path = folder / name
            if path.is_file() and not path.is_symlink() and path.stat().st_size <= MEMBERS_AT_MOST:
                archive.add(path, name)
                packed[name] = kinds | ({"ok"} if kinds == {"unreadable"} else set())
    assert len(packed) >= 300
    assert_as_expected(caption(tmp_path / "hostile.tar", tmp_path / "out"), packed)

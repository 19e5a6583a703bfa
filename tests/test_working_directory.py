"""What Ray sends to a cluster with a job: enough to run it, and little more."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from ray._private.ray_constants import get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import create_package

ROOT = Path(__file__).resolve().parent.parent
MAX_BYTES = 25_000_000  # the bundled captioner, which has at most 4 MB, the photographs and the code, with room


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that `ray job submit --working-dir .` uploads."""
    target = tmp_path_factory.mktemp("package") / "working_dir.zip"
    create_package(str(ROOT), target, include_gitignore=True, excludes=get_runtime_env_default_excludes())
    return target


def test_it_is_small(package: Path) -> None:
    assert package.stat().st_size < MAX_BYTES


def test_it_holds_the_jobs_and_the_code(package: Path) -> None:
    names = set(zipfile.ZipFile(package).namelist())
    assert {"jobs/caption_batch.py", "caption_core/__init__.py", "compression/__init__.py"} <= names
    assert "caption_core/assets/photographs/dog.jpg" in names


def test_it_leaves_out_what_no_job_needs(package: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(package).namelist()}
    assert not tops & {".ci", ".git", ".venv", "docs", "out", "tests"}

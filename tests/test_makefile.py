"""The Makefile's set-up: done once, again when what it depends on changes, and one clear line where it can't be done.

The interpreters are stand-ins, shell scripts that answer what the Makefile asks and write down how they were called.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

SYSTEM_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) {has_venv} ;;
    "-m venv --clear .venv") rm -rf .venv && mkdir -p .venv/bin && cp venv-python .venv/bin/python ;;
    *) echo "unexpected: $*" >&2; exit 99 ;;
esac
"""

VENV_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo {version} ;;
    *) echo "$*" >>calls; test ! -e broken ;;
esac
"""


@dataclass(frozen=True)
class Checkout:
    """A folder with the Makefile, and nothing installed."""

    folder: Path

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # A `make test ARGS=...` above this one hands its options down; they are not this one's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
        command = ["make", *arguments, "ARGS=", f"PYTHON={self.folder / 'python'}"]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def write_python(self, *, version: str = "3.11", has_venv: bool = True) -> None:
        self._script("python", SYSTEM_PYTHON.format(version=version, has_venv="echo yes" if has_venv else "exit 1"))
        self._script("venv-python", VENV_PYTHON.format(version=version))

    def calls(self) -> list[str]:
        """What .venv's interpreter was asked to do since the last look, shortened to the module or the job."""
        log = self.folder / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.removeprefix("-m ").strip() for line in lines]

    def make_newer(self, name: str) -> None:
        newest = max(path.stat().st_mtime for path in (self.folder / ".venv").iterdir())
        os.utime(self.folder / name, (newest + 10, newest + 10))

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, folder)
    made = Checkout(folder)
    made.write_python()
    return made


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


def test_the_first_run_installs_and_the_second_does_not(checkout: Checkout) -> None:
    first, second = checkout.make("test"), checkout.make("test")
    assert (first.returncode, second.returncode) == (0, 0)
    install, *tests = checkout.calls()
    assert install == "pip install --quiet -c constraints.txt --editable .[coco,dev,train]"
    assert [call.split()[0] for call in tests] == ["pytest", "pytest"]
    assert [line for line in first.stdout.splitlines() if line.startswith("==> making .venv")]
    assert second.stdout.splitlines() == ["==> running the tests"]


def test_the_demo_installs_the_core_alone(checkout: Checkout) -> None:
    assert checkout.make("demo").returncode == 0
    install, job = checkout.calls()
    assert install == "pip install --quiet -c constraints.txt --editable ."
    assert job.startswith("jobs/caption_batch.py ")
    assert "--input caption_core/assets/photographs" in job


@pytest.mark.parametrize("newer", [True, False])
def test_the_demo_begins_again_with_another_captioner_only(checkout: Checkout, newer: bool) -> None:
    for name in ("out/demo", "caption_core/assets/captioner"):
        (checkout.folder / name).mkdir(parents=True)
    age = 1_000_000_000.0
    for path in (checkout.folder / "caption_core/assets").rglob("*"):
        os.utime(path, (age, age))
    os.utime(checkout.folder / "caption_core/assets", (age, age))
    os.utime(checkout.folder / "out/demo", (age + (-1 if newer else 1),) * 2)
    assert checkout.make("demo").returncode == 0
    assert (checkout.folder / "out/demo").exists() is not newer


def test_the_demo_needs_no_install_after_the_tests(checkout: Checkout) -> None:
    checkout.make("test")
    checkout.calls()
    assert checkout.make("demo").returncode == 0
    assert len(checkout.calls()) == 1


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_the_requirements_installs_again(checkout: Checkout, changed: str) -> None:
    checkout.make("test")
    checkout.calls()
    checkout.make_newer(changed)
    checkout.make("test")
    assert [call.split()[0] for call in checkout.calls()] == ["pip", "pytest"]


def test_a_failed_install_is_tried_again(checkout: Checkout) -> None:
    (checkout.folder / "broken").touch()
    assert checkout.make("test").returncode != 0
    (checkout.folder / "broken").unlink()
    assert checkout.make("test").returncode == 0
    assert [call.split()[0] for call in checkout.calls()] == ["pip", "pip", "pytest"]


def test_a_virtual_environment_whose_python_is_gone_is_made_again(checkout: Checkout) -> None:
    checkout.make("test")
    (checkout.folder / ".venv/bin/python").unlink()
    assert checkout.make("test").returncode == 0
    assert [call.split()[0] for call in checkout.calls()] == ["pip", "pytest", "pip", "pytest"]


def test_a_failed_test_fails_make(checkout: Checkout) -> None:
    checkout.make("test")
    (checkout.folder / "broken").touch()
    assert checkout.make("test").returncode != 0


@pytest.mark.parametrize("version", ["2.7", "3.9", "3.15"])
def test_a_python_that_does_not_fit_is_one_line(checkout: Checkout, version: str) -> None:
    checkout.write_python(version=version)
    line = one_line(checkout.make("demo"))
    assert f"is Python {version}" in line
    assert "`make demo PYTHON=python3.12`" in line
    assert not (checkout.folder / ".venv").exists()


def test_no_python_is_one_line(checkout: Checkout) -> None:
    (checkout.folder / "python").unlink()
    line = one_line(checkout.make("demo"))
    assert "install python3 and python3-venv" in line


def test_a_missing_venv_module_is_one_line(checkout: Checkout) -> None:
    checkout.write_python(has_venv=False)
    line = one_line(checkout.make("test"))
    assert "install python3.11-venv" in line
    assert "`make test`" in line
    assert not (checkout.folder / ".venv").exists()


def test_a_python_without_tensorflow_runs_the_demo_but_not_the_tests(checkout: Checkout) -> None:
    checkout.write_python(version="3.14")
    assert checkout.make("demo").returncode == 0
    line = one_line(checkout.make("test"))
    assert "TensorFlow" in line
    assert "PYTHON=python3.13" in line


def test_help_lists_every_target(checkout: Checkout) -> None:
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make (\w+) +\S", checkout.make().stdout, re.MULTILINE)
    assert listed == phony.split()


def test_clean_leaves_the_captions_of_others_alone(checkout: Checkout) -> None:
    checkout.make("test")
    for run in ("demo", "archive"):
        (checkout.folder / "out" / run).mkdir(parents=True)
    assert checkout.make("clean").returncode == 0
    assert [path.name for path in (checkout.folder / "out").iterdir()] == ["archive"]
    assert not (checkout.folder / ".venv").exists()

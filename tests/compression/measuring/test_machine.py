import getpass
import os
import platform
from pathlib import Path

import pytest

from compression.measuring.machine import _processor, measure_machine


def test_the_machine_is_described_without_names_and_paths() -> None:
    machine = measure_machine()
    text = machine.model_dump_json()
    assert platform.node() not in machine.system.split()
    assert not any(place in text for place in (str(Path.home()), str(Path.cwd()), "/home", "/root", "/tmp"))
    assert getpass.getuser() not in machine.system.split()
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.memory_gb > 0
    assert {"python", "ai-edge-litert", "numpy"} <= machine.versions.keys()


def test_the_processor_is_the_model_that_the_kernel_tells(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel\t\t: 1\nmodel name\t: Made Up 9000 @ 1 GHz: turbo\n")
    assert _processor(info) == "Made Up 9000 @ 1 GHz: turbo"


def test_a_processor_without_a_model_name_is_told_by_its_kind(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert _processor(info) == _processor(tmp_path / "none") == platform.machine()


def test_the_system_is_told_without_the_name_of_somebodys_own_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "release", lambda: "6.18.44-mine-v1")
    assert measure_machine().system == f"{platform.system()} 6.18, {platform.machine()}"

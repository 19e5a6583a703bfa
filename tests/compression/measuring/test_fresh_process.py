import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from caption_core.errors import CapstanError
from compression.measuring import fresh_process
from compression.measuring.fresh_process import measure_afresh
from compression.measuring.worker import cores_of

ROOT = Path(__file__).resolve().parents[3]


def test_a_bundle_that_is_missing_is_named(tmp_path: Path) -> None:
    for task in ("loading", "speed"):
        with pytest.raises(CapstanError, match="nowhere: no bundle here"):
            measure_afresh(task, tmp_path / "nowhere", threads=1, files=[], batch=1, passes=[])


def test_an_image_that_can_not_be_read_is_named(bundled: Path, tmp_path: Path) -> None:
    with pytest.raises(CapstanError, match=r"gone\.jpg"):
        measure_afresh("loading", bundled / "captioner", threads=1, files=[tmp_path / "gone.jpg"], batch=1)


def test_a_process_that_fails_tells_its_last_line(bundled: Path) -> None:
    with pytest.raises(CapstanError, match=r"captioner: the process .* ended with code 1: KeyError: 'unheard of'"):
        measure_afresh("unheard of", bundled / "captioner", threads=1, files=[])


def test_a_process_that_is_killed_is_told(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "killed.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(fresh_process, "_WORKER", "killed")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(CapstanError, match=f"was ended by signal {int(signal.SIGKILL)}"):
        measure_afresh("loading", bundled / "captioner", threads=1, files=[])


def test_it_works_from_any_folder(bundled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = Path(os.path.relpath(bundled / "captioner"))
    passes = [{"batch": 1, "beam_width": 1, "images": 2, "from_files": False}]
    (times,) = measure_afresh("speed", relative, threads=1, files=[], passes=passes)
    assert len(times["batch_s"]) == 2


def test_what_native_code_prints_does_not_disturb_the_reply() -> None:
    script = """
import os
from compression.child_process import answer_request
answer_request(lambda request: os.write(1, b"noise") and request)
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, input=b'"asked"', capture_output=True, check=True)
    assert json.loads(done.stdout) == {"result": "asked"}
    assert done.stderr == b"noise"


def test_the_worker_loads_no_library_before_it_keeps_to_its_cores() -> None:
    script = "import sys, compression.measuring.worker; print('numpy' in sys.modules, 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("slot", "threads", "cores"), [(0, 1, [2]), (1, 1, [3]), (0, 2, [2, 3]), (1, 2, [5, 7]), (0, 9, [2, 3, 5, 7])]
)
def test_each_slot_has_cores_of_its_own(slot: int, threads: int, cores: list[int]) -> None:
    assert cores_of({7, 5, 3, 2}, slot, threads) == cores

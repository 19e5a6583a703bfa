import os
import subprocess
import sys
from pathlib import Path

import pytest

from caption_core.process_environment import bounded_environment, tensorflow_environment, worker_environment

ROOT = Path(__file__).resolve().parents[1]


def test_keras_is_keras_2_and_fast_kernels_are_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert tensorflow_environment() == {"TF_USE_LEGACY_KERAS": "1", "TF_ENABLE_ONEDNN_OPTS": "1"}


def test_a_user_may_switch_the_fast_kernels_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert tensorflow_environment()["TF_ENABLE_ONEDNN_OPTS"] == "0"


def test_workers_keep_what_they_free_and_use_as_many_threads_as_they_claim() -> None:
    environment = bounded_environment(3)
    assert worker_environment().items() < environment.items()
    threads = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    assert [environment[name] for name in threads] == ["3", "3", "3"]
    assert tensorflow_environment().items() < worker_environment().items()
    assert "MALLOC_TRIM_THRESHOLD_" in worker_environment()


_WATCHED = """
import os, sys
from pathlib import Path

class Watch:
    def find_spec(self, name, *_):
        if name == "tensorflow":
            print(os.environ.get("TF_USE_LEGACY_KERAS"), os.environ.get("TF_ENABLE_ONEDNN_OPTS"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize(
    "use",
    [
        "from caption_core.captioner import load_captioner; load_captioner(Path(sys.argv[1]))",
        "import caption_core.runtimes.tensorflow",
        "import caption_core.training.loop",
        "import compression.gates",
    ],
)
def test_tensorflow_is_set_up_before_it_is_imported(use: str, tiny_bundle: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    command = [sys.executable, "-c", _WATCHED + use, str(tiny_bundle)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1 1\n"

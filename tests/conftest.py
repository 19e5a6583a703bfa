"""Captioners shared by tests: trained on synthetic photographs once a session, in float and in int8."""

from __future__ import annotations

import math
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

# Must be set before TensorFlow is first imported, by whichever test comes first.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Ray reads its token once a process: all clusters that tests start in this one must agree on it.
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

# Where something in this process still asks a Ray that has ended, Ray ends the process after 60 seconds by default, and
# pytest keeps its last words to itself.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "3600")

from tests.bundle_builders import SyntheticSet, train_tiny, write_synthetic_set

# Whether other test processes work through the same tests.
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ

ROOT = Path(__file__).resolve().parents[1]

_DAY_S = 86400

# Seconds since the epoch: slow tests that would begin later are skipped. For runs that have to end in time.
SLOW_UNTIL = float(os.environ.get("CAPSTAN_SLOW_UNTIL", "inf"))


def is_slow(item: pytest.Item) -> bool:
    """Whether a test takes more than a few seconds."""
    return item.get_closest_marker("slow") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the files: those without slow tests first, then the longest.

    A long file that begins last would keep one process alone. Where there may not be time for all slow tests, others
    come first every day.
    """
    if not PARALLEL:
        return
    items.sort(key=lambda item: "integration" not in item.path.parts)
    slow = list(dict.fromkeys(item.path for item in items if is_slow(item)))
    day = 0 if math.isinf(SLOW_UNTIL) else int(SLOW_UNTIL // _DAY_S)
    turn = {path: (place - day * (len(slow) // 3)) % len(slow) for place, path in enumerate(slow)}
    items.sort(key=lambda item: turn.get(item.path, -1))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out slow tests once their time is over."""
    if is_slow(item) and time.time() > SLOW_UNTIL:
        pytest.skip(f"{item.nodeid}: slow, and its turn came after CAPSTAN_SLOW_UNTIL")


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """What one of the test processes makes in a folder, for all of them; the others wait for it."""
    shared = factory.getbasetemp().parent if PARALLEL else factory.getbasetemp()
    note = shared / f"{name}.made"
    with FileLock(shared / f"{name}.lock"):
        if not note.exists():
            note.write_text(str(make(factory.mktemp(name))))
    return Path(note.read_text())


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The captioner and photographs that come with the project."""
    return ROOT / "caption_core" / "assets"


@pytest.fixture(scope="session")
def synthetic_set(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    """Twelve synthetic photographs with captions."""
    return write_synthetic_set(tmp_path_factory.mktemp("synthetic") / "set")


@pytest.fixture(scope="session")
def tiny_bundle(synthetic_set: SyntheticSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float bundle that captions the synthetic photographs."""
    return made_once(tmp_path_factory, "tiny", lambda folder: train_tiny(synthetic_set, folder))


@pytest.fixture(scope="session")
def tiny_int8_bundle(synthetic_set: SyntheticSet, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same captioner, quantized for LiteRT."""
    from tests.step_contexts import quantized

    return made_once(tmp_path_factory, "tiny-int8", lambda folder: quantized(tiny_bundle, synthetic_set, folder))

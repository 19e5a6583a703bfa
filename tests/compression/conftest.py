"""What a test of a step starts from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compression.context import StepContext
from tests.bundle_builders import SyntheticSet
from tests.step_contexts import step_context

MakeContext = Callable[..., StepContext]


@pytest.fixture
def make_context(synthetic_set: SyntheticSet, tiny_bundle: Path, tmp_path: Path) -> MakeContext:
    """Builds a step's context: `make_context(parent=BUNDLE_FOLDER, captions=False, **changes of the data)`."""

    def make(*, parent: Path = tiny_bundle, captions: bool = True, name: str = "step", **data: object) -> StepContext:
        return step_context(
            parent,
            synthetic_set,
            tmp_path / name,
            teacher=tiny_bundle,
            captions=synthetic_set.data_config(**data) if captions else None,
        )

    return make


@pytest.fixture
def teachers_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Teachers, which nothing changes, are built once for all tests: an encoder takes seconds."""
    from compression import teacher
    from tests.compression.builders import loaded

    monkeypatch.setattr(teacher, "load_model", loaded)

"""A measured study on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compression.report.measurements import example_study, write_references, write_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of `example_study`, as a run leaves it."""
    return write_study(tmp_path / "study", example_study())


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """References of its scored images."""
    return write_references(tmp_path / "references.txt")

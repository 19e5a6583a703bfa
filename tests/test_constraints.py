"""constraints.txt: a pin for everything that pyproject.toml asks for, within its bounds, and no addresses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13"]

LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def required() -> list[Requirement]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for texts in project["optional-dependencies"].values() for text in texts]
    return [Requirement(text) for text in [*project["dependencies"], *extras]]


def pins(python: str) -> dict[str, str]:
    """Package to version, for one Python; two pins of a package for the same Python are an error."""
    found: dict[str, str] = {}
    for pin in map(Requirement, LINES):
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            name = canonicalize_name(pin.name)
            assert name not in found, f"two versions of {name} for Python {python}"
            (found[name],) = (specifier.version for specifier in pin.specifier if specifier.operator == "==")
    return found


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_within_its_bounds(python: str) -> None:
    pinned = pins(python)
    for requirement in required():
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}"


def test_every_requirement_has_a_lower_bound() -> None:
    for requirement in required():
        assert [specifier.operator for specifier in requirement.specifier] == [">="], str(requirement)


def test_no_line_names_an_address_or_an_option() -> None:
    odd = [line for line in LINES if "://" in line or "@" in line or line.startswith("-")]
    assert not odd

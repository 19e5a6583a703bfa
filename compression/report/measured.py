"""Measurements as they lie on disk: found below the folders of studies, in the studies' own order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from caption_core.errors import UsageError
from compression.measurement import MEASUREMENT, Measurement, read_measurement

_STUDY = "study.json"
_WHOLE = "whole"

RecipeStep = tuple[str, dict[str, Any]]
"""A step's kind and its settings, less those that are defaults."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement and where it was found.

    Attributes:
        folder: that it and its captions are in.
        run: folder of the study's run; speeds are only comparable within one.
        measurement: what was measured.
        recipe: its steps, in order.
        name: of the variant, unique in a report: where several runs have a variant of that name, the study's or the
            run's name stands before it.
    """

    folder: Path
    run: Path
    measurement: Measurement
    recipe: tuple[RecipeStep, ...]
    name: str

    @property
    def is_baseline(self) -> bool:
        """Whether it is a trained captioner as it is."""
        return not self.measurement.axes


def collect(folders: Sequence[Path]) -> list[Measured]:
    """All measurements below the folders of studies, each once, the captioners as they are before what they became.

    Variants come in the order of the study's own list, `study.json` in the run's folder; those that it doesn't name,
    and all where there is none, come by their names behind these.

    Raises:
        UsageError: a folder has none, one can't be read, or two runs can't be told apart.
    """
    found: dict[Path, Measured] = {}
    for folder in folders:
        paths = sorted(folder.rglob(MEASUREMENT))
        if not paths:
            raise UsageError(f"{folder}: no {MEASUREMENT} below it: nothing was measured there")
        for one in sorted(map(_read, paths), key=_order):
            found.setdefault(one.folder.resolve(), one)
    return _named(list(found.values()))


def _read(path: Path) -> Measured:
    measurement = read_measurement(path)
    if _WHOLE not in measurement.sizes:
        raise UsageError(f"{path}: sizes: the size of the whole is missing")
    # OUTPUT/variants/NAME/measurement.json, as a study lays them out.
    run = path.parent.parent.parent
    run = run if (run / _STUDY).is_file() else path.parent.parent
    return Measured(path.parent, run, measurement, _steps(path, measurement.recipe), measurement.variant)


def _steps(path: Path, recipe: str) -> tuple[RecipeStep, ...]:
    try:
        steps = yaml.safe_load(recipe) or []
        return tuple((str(kind), dict(settings or {})) for step in steps for kind, settings in step.items())
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: recipe: not a list of steps") from error


def _order(one: Measured) -> tuple[str, bool, int, str]:
    listed = _listed(one.run)
    place = listed.index(one.name) if one.name in listed else len(listed)
    return str(one.run), not one.is_baseline, place, one.name


def _listed(run: Path) -> list[str]:
    path = run / _STUDY
    if not path.is_file():
        return []
    try:
        return list(map(str, json.loads(path.read_bytes())["variants"]))
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not a study's list of variants") from error


def _named(found: list[Measured]) -> list[Measured]:
    """Every one under a name of its own, the shortest that tells all apart."""
    forms: tuple[Callable[[Measured], str], ...] = (
        lambda one: one.measurement.variant,
        lambda one: f"{one.measurement.study}/{one.measurement.variant}",
        lambda one: f"{one.run.name}/{one.measurement.variant}",
    )
    for form in forms:
        names = [form(one) for one in found]
        if len(set(names)) == len(names):
            return [replace(one, name=name) for one, name in zip(found, names, strict=True)]
    twice, _ = Counter(names).most_common(1)[0]
    raise UsageError(f"variant {twice!r} was measured in two folders of the same name: rename one, or report it alone")


def find(measured: Sequence[Measured], name: str, what: str) -> Measured:
    """The variant of a name: its name in the report, or the study's where only one has it.

    Raises:
        UsageError: there is none, or several.
    """
    for matching in ([one for one in measured if one.name == name], _of_variant(measured, name)):
        if len(matching) == 1:
            return matching[0]
        if matching:
            raise UsageError(f"{what} {name!r}: several have this name: {', '.join(one.name for one in matching)}")
    raise UsageError(f"{what} {name!r}: no such variant; there are {', '.join(one.name for one in measured)}")


def _of_variant(measured: Sequence[Measured], name: str) -> list[Measured]:
    return [one for one in measured if one.measurement.variant == name]

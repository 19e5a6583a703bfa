"""A recipe: an ordered list of steps, read from YAML and checked before any work."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from compression.fitting import check_fit
from compression.order import StepError, check_order, with_one_quantization
from compression.settings.registry import STEPS
from compression.settings.step import Step
from compression.yaml_lines import Place, YamlDocument

RECIPES = Path(__file__).with_name("recipes")
"""Recipes that come along, by the names of their files."""

_SEEDS = 2**30
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")


@dataclass(frozen=True, slots=True)
class Chain:
    """Steps in the order in which they are taken, and where each stands in its file.

    Attributes:
        steps: the steps.
        places: as many places in the document.
        document: that they were read from.
    """

    steps: tuple[Step, ...]
    places: tuple[Place, ...]
    document: YamlDocument

    def __add__(self, other: Chain) -> Chain:
        """Both, one after the other."""
        return Chain(self.steps + other.steps, self.places + other.places, self.document)

    def ordered(self) -> Chain:
        """The chain as it is run: its conversions to LiteRT are one step.

        Raises:
            UsageError: the order makes no sense; the message gives line and reason.
        """
        try:
            check_order(self.steps)
            steps, kept = with_one_quantization(self.steps)
        except StepError as error:
            raise self.error(error) from error
        return Chain(steps, tuple(self.places[index] for index in kept), self.document)

    def check(self, manifest: Manifest, *, has_images: bool, has_captions: bool) -> None:
        """See to it that a captioner can take the steps, and that the data which they need are there.

        Raises:
            UsageError: it can't, or they aren't; the message gives line and reason.
        """
        try:
            check_fit(self.steps, manifest, has_images=has_images, has_captions=has_captions)
        except StepError as error:
            raise self.error(error) from error

    def error(self, error: StepError) -> UsageError:
        """A step's mistake with its line."""
        return self.document.error(self.places[error.index], str(error))

    def as_yaml(self) -> str:
        """The steps as a recipe has them, without what reading it fills in: to read it again gives equal steps."""
        return yaml.safe_dump([{step.kind: _needed(step)} for step in self.steps], sort_keys=False, width=120)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named chain and its seed."""

    name: str
    seed: int
    chain: Chain


def _needed(step: Step) -> dict[str, Any]:
    """The settings without which another step would be read."""
    settings = step.model_dump(mode="json", include=step.model_fields_set)
    for path in _paths(settings):
        fewer = _without(settings, path)
        if _is_read_as(step, fewer):
            settings = fewer
    return settings


def _paths(settings: dict[str, Any]) -> list[tuple[str, ...]]:
    """Names of settings, each before those within it."""
    paths: list[tuple[str, ...]] = []
    for name, value in settings.items():
        paths.append((name,))
        if isinstance(value, dict):
            paths += [(name, inner) for inner in value]
    return paths


def _without(settings: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    name, *within = path
    if not within:
        return {other: value for other, value in settings.items() if other != name}
    return {**settings, name: _without(settings[name], within)} if name in settings else settings


def _is_read_as(step: Step, settings: dict[str, Any]) -> bool:
    try:
        return type(step).model_validate(settings) == step
    except ValidationError:
        return False


def read_recipe(name: str) -> Recipe:
    """Read a recipe: a file, or one that comes along by its name.

    Raises:
        UsageError: there is none, or it is not a recipe; the message gives the line.
    """
    document = YamlDocument.read(find_file(name, RECIPES, "recipe"))
    fields = read_fields(document, needed=("name", "steps"), optional=("seed", "about"))
    return Recipe(read_name(document, fields), read_seed(document, ("seed",), fields), read_steps(document, ("steps",)))


def find_file(name: str, folder: Path, what: str) -> Path:
    """A YAML file, or one of `folder` by its name alone.

    Raises:
        UsageError: there is none.
    """
    if Path(name).suffix in (".yaml", ".yml") or (Path(name).exists() and not Path(name).is_dir()):
        return Path(name)
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UsageError(f"{what} {name}: no such file, and none of those that come along: {', '.join(known)}")
    return folder / f"{name}.yaml"


def read_fields(document: YamlDocument, *, needed: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """The document's top as a mapping of known fields."""
    fields = document.value
    if not isinstance(fields, dict):
        raise document.error((), f"a mapping with {', '.join(needed)} is needed")
    for key in fields:
        if key not in (*needed, *optional):
            known = ", ".join((*needed, *optional))
            raise document.error((key,), f"unknown field {key!r}; there are {known}")
    if missing := [key for key in needed if key not in fields]:
        raise document.error((), f"field {missing[0]!r} is missing")
    return fields


def read_name(document: YamlDocument, fields: dict[str, Any]) -> str:
    """The name: part of bundles' names, and so lower case without spaces."""
    name = fields["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise document.error(("name",), f"name must be of a-z, 0-9, '-', '_' and '.', not {name!r}")
    return name


def read_seed(document: YamlDocument, place: Place, fields: dict[str, Any]) -> int:
    """A recipe's seed, 1 where it names none."""
    return check_seed(document, place, fields.get("seed", 1))


def check_seed(document: YamlDocument, place: Place, seed: Any) -> int:
    """A seed's range is that of training."""
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _SEEDS:
        raise document.error(place, f"a seed is a whole number in [0, 2**30), not {seed!r}")
    return seed


def read_steps(document: YamlDocument, place: Place) -> Chain:
    """The list of steps at a place; each is a name, or a mapping of one name to settings."""
    entries = document.value
    for key in place:
        entries = entries[key]
    if not isinstance(entries, list):
        raise document.error(place, "a list of steps is needed")
    places = tuple((*place, index) for index in range(len(entries)))
    steps = tuple(_read_step(document, where, entry) for where, entry in zip(places, entries, strict=True))
    return Chain(steps, places, document)


def _read_step(document: YamlDocument, place: Place, entry: Any) -> Step:
    fields = {entry: {}} if isinstance(entry, str) else entry
    if not isinstance(fields, dict) or len(fields) != 1:
        raise document.error(place, "a step is a name, or one name with its settings")
    ((kind, settings),) = fields.items()
    if kind not in STEPS:
        raise document.error(place, f"unknown step {kind!r}; there are {', '.join(sorted(STEPS))}")
    try:
        return STEPS[kind].model_validate(settings or {})
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{'.'.join(map(str, (kind, *first['loc'])))}: {first['msg'].removeprefix('Value error, ')}"
        raise document.error((*place, kind, *first["loc"]), said) from error

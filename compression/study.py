"""A study: trained captioners, times a grid of choices, times seeds; read from YAML and checked before any work.

name: pairs
models: [mobilenet]            # given by name when the study is run
seeds: [1, 2, 3]
axes:
  encoder:
    as is: []
    pruned: [{magnitude: {part: encoder, sparsity: 0.7, training: {encoder_from: block_13}}}]
  decoder:
    as is: []
    dynamic: [{quantize: {decoder: dynamic}}]
finish: [{store: {codec: zstd}}]
variants:                      # beside the grid, or in place of one
  best: [...]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from caption_core.errors import UsageError
from compression.recipe import Chain, Recipe, check_seed, find_file, read_fields, read_name, read_steps
from compression.variants import Variant
from compression.yaml_lines import YamlDocument

STUDIES = Path(__file__).with_name("studies")
"""Studies that come along, by the names of their files."""

AS_IS = "as is"
"""Name of the variant that is the captioner itself: what all others are compared with."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study, or a part of one.

    Attributes:
        name: of the study.
        models: names of the trained captioners that it needs.
        variants: what is to be made of them, the baselines first.
        all_variants: these, and in a part of a study the others, in their order.
    """

    name: str
    models: tuple[str, ...]
    variants: tuple[Variant, ...]
    all_variants: tuple[Variant, ...]

    @property
    def others(self) -> tuple[Variant, ...]:
        """In a part of a study, the variants that aren't in it."""
        return tuple(variant for variant in self.all_variants if variant not in self.variants)

    def only(self, patterns: Sequence[str]) -> Study:
        """The variants whose names are among some patterns (or match one, as in a shell), their models and baselines.

        Raises:
            UsageError: a pattern is none's.
        """
        names = [variant.name for variant in self.variants]
        wanted: set[str] = set()
        for pattern in patterns:
            matching = [name for name in names if name == pattern or fnmatchcase(name, pattern)]
            if not matching:
                raise UsageError(f"study {self.name} has no variant {pattern!r}; it has: {', '.join(names)}")
            wanted.update(matching)
        models = {variant.model for variant in self.variants if variant.name in wanted}
        wanted |= {_baseline_name(model) for model in models}
        return replace(
            self,
            models=tuple(model for model in self.models if model in models),
            variants=tuple(variant for variant in self.variants if variant.name in wanted),
        )


def read_study(name: str) -> Study:
    """Read a study: a file, or one that comes along by its name.

    Raises:
        UsageError: it is none; the message gives the line.
    """
    document = YamlDocument.read(find_file(name, STUDIES, "study"))
    optional = ("models", "seeds", "axes", "finish", "variants", "about", "anchors")
    fields = read_fields(document, needed=("name",), optional=optional)
    models = _read_models(document, fields)
    chains = _read_chains(document, fields)
    seeds = _read_seeds(document, fields)
    variants = [baseline(model, document) for model in models]
    variants += [
        Variant(_variant_name(models, model, axes, seeds, seed), model, axes, chain, seed)
        for model, (axes, chain), seed in product(models, chains, seeds)
    ]
    _refuse_equal_folders(document, variants)
    return Study(read_name(document, fields), models, tuple(variants), tuple(variants))


def _refuse_equal_folders(document: YamlDocument, variants: list[Variant]) -> None:
    seen: dict[str, str] = {}
    for variant in variants:
        other = seen.setdefault(variant.folder_name, variant.name)
        if other is not variant.name:
            raise document.error((), f"variants {other!r} and {variant.name!r} would share a folder: rename one")


def study_of(recipe: Recipe) -> Study:
    """A recipe as a study of one variant beside the captioner itself."""
    chain = recipe.chain.ordered()
    made = Variant(recipe.name, "model", {"recipe": recipe.name}, chain, recipe.seed)
    variants = (baseline("model", chain.document), made)
    return Study(recipe.name, ("model",), variants, variants)


def baseline(model: str, document: YamlDocument) -> Variant:
    """The captioner itself."""
    return Variant(_baseline_name(model), model, {}, Chain((), (), document), 0)


def _baseline_name(model: str) -> str:
    return f"{model} {AS_IS}"


def _variant_name(models: tuple[str, ...], model: str, axes: dict[str, str], seeds: list[int], seed: int) -> str:
    parts = [model] if len(models) > 1 else []
    parts += [f"{axis}={choice}" if axis != "variant" else choice for axis, choice in axes.items()]
    return "+".join([*parts, *([f"seed={seed}"] if len(seeds) > 1 else [])])


def _read_models(document: YamlDocument, fields: dict[str, Any]) -> tuple[str, ...]:
    models = fields.get("models", ["model"])
    if not isinstance(models, list) or not models or not all(isinstance(name, str) for name in models):
        raise document.error(("models",), "models is a list of names")
    if len(set(models)) < len(models):
        raise document.error(("models",), "a model is named twice")
    return tuple(models)


def _read_seeds(document: YamlDocument, fields: dict[str, Any]) -> list[int]:
    seeds = fields.get("seeds", [1])
    if not isinstance(seeds, list) or not seeds:
        raise document.error(("seeds",), "seeds is a list of whole numbers")
    checked = [check_seed(document, ("seeds", index), seed) for index, seed in enumerate(seeds)]
    if len(set(checked)) < len(checked):
        raise document.error(("seeds",), "a seed is named twice")
    return checked


def _read_chains(document: YamlDocument, fields: dict[str, Any]) -> list[tuple[dict[str, str], Chain]]:
    """Every cell of the grid and every variant beside it, as its choices and its ordered chain."""
    finish = read_steps(document, ("finish",)) if "finish" in fields else Chain((), (), document)
    cells = [*_grid(document, fields), *_listed(document, fields)]
    if not cells:
        raise document.error((), "a study needs axes or variants")
    return [(axes, (chain + finish).ordered()) for axes, chain in cells]


def _grid(document: YamlDocument, fields: dict[str, Any]) -> Iterator[tuple[dict[str, str], Chain]]:
    if "axes" not in fields:
        return
    axes = _mapping(document, ("axes",), fields["axes"])
    choices = [
        [(axis, choice, read_steps(document, ("axes", axis, choice))) for choice in _choices(document, axis, axes)]
        for axis in axes
    ]
    for cell in product(*choices):
        chain = Chain((), (), document)
        for _, _, steps in cell:
            chain = chain + steps
        yield {axis: choice for axis, choice, _ in cell}, chain


def _choices(document: YamlDocument, axis: str, axes: dict[str, Any]) -> dict[str, Any]:
    return _mapping(document, ("axes", axis), axes[axis])


def _listed(document: YamlDocument, fields: dict[str, Any]) -> Iterator[tuple[dict[str, str], Chain]]:
    if "variants" in fields:
        for name in _mapping(document, ("variants",), fields["variants"]):
            yield {"variant": name}, read_steps(document, ("variants", name))


def _mapping(document: YamlDocument, place: tuple[str, ...], value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise document.error(place, f"{place[-1]} is a mapping of names")
    return value

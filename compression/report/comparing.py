"""What a variant is compared with: the captioner that it was made from, and its twin with all weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compression.report.measured import Measured, RecipeStep, find
from compression.settings.pruning import PRUNING

_PRUNING_KINDS = {step.kind for step in PRUNING}
# What makes two variants differ in the graphs that run, or how often they do, and not in their weights only.
_GRAPH_KINDS = {"architecture", "factorize_embedding", "tie_embedding", "cut_vocabulary", "quantize", "search"}
# Settings of these steps that change weights only.
_WEIGHT_SETTINGS = {"training", "encoder_weights", "calibration_images"}
# A conversion's formats unless it names others.
_FLOAT: dict[str, object] = {"encoder": "float32", "decoder": "float32"}


@dataclass(frozen=True, slots=True)
class Others:
    """What a variant is compared with; None where there is none.

    Attributes:
        baseline: see `baseline_of`.
        dense_twin: see `dense_twin`.
        runtime_twin: see `runtime_twin`.
    """

    baseline: Measured | None
    dense_twin: Measured | None
    runtime_twin: Measured | None


def others_of(one: Measured, all_of_them: Sequence[Measured], named: str | None = None) -> Others:
    """All that a variant is compared with.

    Args:
        one: the variant.
        all_of_them: among which the others are looked for.
        named: name of its baseline; None for the captioner that it was made from.

    Raises:
        UsageError: there is no variant of that name.
    """
    baseline = baseline_of(one, all_of_them, named)
    return Others(baseline, dense_twin(one, all_of_them), runtime_twin(one, baseline, all_of_them))


def baseline_of(one: Measured, all_of_them: Sequence[Measured], named: str | None = None) -> Measured | None:
    """What a variant is compared with: the one named, or the captioner that it was made from, as it is.

    Raises:
        UsageError: there is no variant of that name.
    """
    if named is not None:
        return find(all_of_them, named, "baseline")
    return next((other for other in all_of_them if other.is_baseline and _of_one_model(one, other)), None)


def dense_twin(one: Measured, all_of_them: Sequence[Measured]) -> Measured | None:
    """For a pruned variant one that runs the same graphs with all weights: what pruning alone does to speed.

    Graphs are the same where the steps that make them are, whatever training came between. Of several twins the one
    with the most steps in common is taken, and the same seed if there is one.
    """
    if not prunes(one):
        return None
    twins = [other for other in all_of_them if not prunes(other) and _of_one_model(one, other)]
    return _nearest(one, [other for other in twins if _graphs(other.recipe) == _graphs(one.recipe)])


def runtime_twin(one: Measured, baseline: Measured | None, all_of_them: Sequence[Measured]) -> Measured | None:
    """For a variant of another runtime than its baseline's the baseline in its runtime: what that alone does to speed.

    It is the baseline's model with the baseline's graphs, its weights all there and in float32, whatever training came
    between. Of several the one with the most steps in common is taken.
    """
    if baseline is None or one.measurement.runtime == baseline.measurement.runtime:
        return None
    twins = [other for other in all_of_them if not prunes(other) and _of_one_model(baseline, other)]
    twins = [other for other in twins if other.measurement.runtime == one.measurement.runtime]
    return _nearest(baseline, [other for other in twins if _in_float(other) == _in_float(baseline)])


def _nearest(one: Measured, twins: Sequence[Measured]) -> Measured | None:
    """The twin with the most steps in common, and of the same seed if there is one."""
    seed = one.measurement.seed
    alike = [(_common(one.recipe, twin.recipe), twin.measurement.seed == seed) for twin in twins]
    return twins[alike.index(max(alike))] if twins else None


def prunes(one: Measured) -> bool:
    """Whether a step of its recipe sets weights to zero."""
    return any(kind in _PRUNING_KINDS for kind, _ in one.recipe)


def _of_one_model(one: Measured, other: Measured) -> bool:
    return (one.run, one.measurement.study, one.measurement.model) == (
        other.run,
        other.measurement.study,
        other.measurement.model,
    )


def _graphs(recipe: Sequence[RecipeStep]) -> list[RecipeStep]:
    """The steps that make graphs, in an order in which equal graphs have equal lists."""
    steps = [(kind, _graph_settings(kind, settings)) for kind, settings in recipe if kind in _GRAPH_KINDS]
    return sorted(steps, key=lambda step: step[0])


def _in_float(one: Measured) -> list[RecipeStep]:
    """What `_graphs` has, less a conversion that holds both parts in float32."""
    return [step for step in _graphs(one.recipe) if step != ("quantize", _FLOAT)]


def _graph_settings(kind: str, settings: dict[str, object]) -> dict[str, object]:
    # A conversion holds a part that it doesn't name in float32.
    defaults = _FLOAT if kind == "quantize" else {}
    named = {name: value for name, value in settings.items() if value is not None and name not in _WEIGHT_SETTINGS}
    return defaults | named


def _common(recipe: Sequence[RecipeStep], other: Sequence[RecipeStep]) -> int:
    """Steps in common, less those that only one has."""
    shared = sum(step in other for step in recipe)
    return 3 * shared - len(recipe) - len(other)

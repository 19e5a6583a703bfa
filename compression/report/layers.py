"""A variant's weight matrices, one by one: as data, and those that quantization hurts most as a readable table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from compression.measurement import Measurement
from compression.report.columns import Table
from compression.report.measured import Measured
from compression.report.rows import Row

_MOST_ERRORS = 10

_COLUMNS = {
    "layer": "A weight matrix, by a name that `keep_float` of the step quantize takes.",
    "error": "What quantizing it alone changes its part's output by: root mean square, over that of the output.",
    "elements": "Weights in it.",
    "zeros %": "Share of them that are zero, in per cent.",
}


@dataclass(frozen=True, slots=True)
class LayerFigures:
    """A layer's figures; None where one was not measured."""

    name: str
    part: str
    elements: int | None = None
    sparsity: float | None = None
    distinct_values: int | None = None
    error: float | None = None


def layer_figures(measurement: Measurement) -> list[LayerFigures]:
    """The layers that were measured, and those that a step has measured an error of under a name of its own."""
    found = {
        one.name: LayerFigures(one.name, one.part, one.elements, one.sparsity, one.distinct_values, one.error)
        for one in measurement.layers
    }
    for record in (entry for step in measurement.steps for entry in step.get("layers") or ()):
        name, error = record["name"], record.get("error")
        if error is not None and name not in found:
            found[name] = LayerFigures(name, name.partition("/")[0], error=error)
    return list(found.values())


def layer_rows(measured: Sequence[Measured]) -> list[Row]:
    """One row a variant and layer."""
    figures = ((one.name, asdict(layer)) for one in measured for layer in layer_figures(one.measurement))
    return [{"variant": variant, "layer": values.pop("name"), **values} for variant, values in figures]


def layer_table(one: Measured) -> Table | None:
    """The layers with the largest errors, the largest first; None where quantization changes nothing."""
    worst = sorted(filter(lambda layer: layer.error, layer_figures(one.measurement)), key=_error, reverse=True)
    if not worst:
        return None
    cells = tuple(map(_cells, worst[:_MOST_ERRORS]))
    title = f"Layers of {one.name} with the largest errors of quantization"
    return Table(title, tuple(_COLUMNS), tuple(_COLUMNS.values()), cells)


def _error(layer: LayerFigures) -> float:
    return layer.error or 0.0


def _cells(layer: LayerFigures) -> tuple[str, ...]:
    elements = "" if layer.elements is None else f"{layer.elements:,}"
    zeros = "" if layer.sparsity is None else f"{100 * layer.sparsity:.1f}"
    return layer.name, f"{_error(layer):.4f}", elements, zeros

from pathlib import Path

from compression.measurement import Measurement
from compression.report.layers import layer_figures, layer_rows, layer_table
from compression.report.measured import Measured, collect
from tests.compression.report.measurements import INT8, PRUNE, layers, measurement, write_study


def measured(folder: Path, one: Measurement) -> Measured:
    return collect([write_study(folder / "study", [one])])[0]


def test_a_row_has_what_was_measured_of_a_layer(tmp_path: Path) -> None:
    rows = layer_rows([measured(tmp_path, measurement("a", INT8, layers=layers(0.9, 0.01)))])
    assert len(rows) == 8
    assert rows[-1] == {
        "variant": "a",
        "layer": "decoder/block_3/kernel",
        "part": "decoder",
        "elements": 1007,
        "sparsity": 0.9,
        "distinct_values": 256,
        "error": 0.08,
    }


def test_a_layer_that_only_a_step_knows_has_an_error_and_no_more() -> None:
    known = [
        {"name": name, "part": "decoder", "error": 0.5} for name in ("decoder/gone/kernel", "decoder/block_0/kernel")
    ]
    step = {"kind": "quantize", "layers": known}
    found = layer_figures(measurement("a", INT8, layers=layers(error=0.01), steps=(step,)))
    assert len(found) == 9
    assert (found[-1].name, found[-1].part, found[-1].error) == ("decoder/gone/kernel", "decoder", 0.5)
    assert (found[-1].elements, found[-1].sparsity) == (None, None)
    assert {one.name: one.error for one in found}["decoder/block_0/kernel"] == 0.05


def test_the_ten_layers_with_the_largest_errors_are_shown_the_largest_first(tmp_path: Path) -> None:
    table = layer_table(measured(tmp_path, measurement("a", INT8, layers=layers(0.9, 0.01, number=8))))
    assert table is not None
    assert [line[1] for line in table.cells] == [f"{0.16 - n / 100:.4f}" for n in range(10)]
    assert table.cells[0] == ("decoder/block_7/kernel", "0.1600", "1,015", "90.0")


def test_without_errors_there_is_no_table(tmp_path: Path) -> None:
    assert layer_table(measured(tmp_path / "a", measurement("a", PRUNE, layers=layers(0.9)))) is None
    assert layer_table(measured(tmp_path / "b", measurement("a", INT8, layers=layers(error=0.0)))) is None

import xml.etree.ElementTree as ET

from compression.measurement import Layer
from compression.report.layer_plots import layer_chart
from tests.compression.report.measurements import INT8, PRUNE, layers, measurement

TEXT = "{http://www.w3.org/2000/svg}text"


def texts(svg: bytes | None) -> list[str]:
    assert svg is not None
    return ["".join(element.itertext()) for element in ET.fromstring(svg).iter(TEXT)]


def test_zeros_and_errors_are_drawn_where_they_were_measured() -> None:
    sparse = texts(layer_chart(measurement("a", PRUNE, layers=layers(0.9))))
    assert "zeros, %" in sparse
    assert not any("error" in text for text in sparse)
    both = texts(layer_chart(measurement("b", PRUNE, INT8, layers=layers(0.9, 0.01))))
    assert {"zeros, %", "relative error of the output when it alone is quantized", "encoder", "decoder"} <= set(both)
    assert both.count("block_0/kernel") == 2  # the encoder's and the decoder's, once each


def test_a_layer_that_only_a_step_knows_is_drawn_too() -> None:
    step = {"kind": "quantize", "layers": [{"name": "decoder/gone/kernel", "part": "decoder", "error": 0.5}]}
    assert "gone/kernel" in texts(layer_chart(measurement("a", INT8, layers=layers(), steps=(step,))))


def test_there_is_no_chart_of_nothing() -> None:
    assert layer_chart(measurement("a", layers=layers())) is None
    assert layer_chart(measurement("a")) is None


def test_of_too_many_layers_the_largest_are_drawn_and_the_file_stays_small() -> None:
    many = tuple(
        Layer(
            name=f"decoder/layer_{n}/kernel", part="decoder", elements=n, sparsity=0.5, distinct_values=9, error=n / 200
        )
        for n in range(1, 201)
    )
    svg = layer_chart(measurement("a", PRUNE, layers=many))
    found = texts(svg)
    assert "layer_200/kernel" in found
    assert "layer_1/kernel" not in found
    assert "the 70 largest of 200 weight matrices" in found
    assert svg is not None
    assert len(svg) < 60_000


def test_equal_input_is_an_equal_file() -> None:
    one = measurement("a", PRUNE, INT8, layers=layers(0.9, 0.01))
    assert layer_chart(one) == layer_chart(one)

from pathlib import Path

import pytest

from caption_core.bundle import open_bundle
from compression.measuring.layers import measure_layers
from tests.compression.measuring.weight_bundles import float_bundle, floats


def test_matrices_are_told_one_by_one_and_in_order(bundled: Path, tmp_path: Path) -> None:
    weights = {
        "decoder/embedding": floats([[0, 0], [0, 4]]),
        "encoder/block_10/kernel": floats([[1, 2], [1, 2]]),
        "encoder/block_2/kernel": floats([[1, 0], [1, 2]]),
        "encoder/block_2/bias": floats([1, 2]),
        "decoder/selector/kernel": floats([[1], [0]]),
    }
    layers = measure_layers(
        float_bundle(bundled / "captioner", tmp_path / "b", weights), errors={"decoder/embedding": 0.5}
    )
    assert [layer.name for layer in layers] == [
        "encoder/block_2/kernel",
        "encoder/block_10/kernel",
        "decoder/embedding",
    ]
    assert [layer.part for layer in layers] == ["encoder", "encoder", "decoder"]
    assert [layer.sparsity for layer in layers] == [0.25, 0.0, 0.75]
    assert [layer.distinct_values for layer in layers] == [3, 2, 2]
    assert [layer.error for layer in layers] == [None, None, 0.5]


def test_float_and_int8_name_the_same_layers(tiny_bundle: Path, tiny_int8_bundle: Path) -> None:
    before, after = (
        {layer.name: layer for layer in measure_layers(open_bundle(folder))}
        for folder in (tiny_bundle, tiny_int8_bundle)
    )
    # So small a table is not shared with the output layer, which has a copy.
    assert after.keys() - before.keys() <= {"decoder/MatMul_1/ReadVariableOp"}
    assert {name: after[name].elements for name in before} == {name: layer.elements for name, layer in before.items()}
    # Quantization rounds small weights to zero, and never the other way.
    kernel = "encoder/Conv_1/kernel"
    assert after[kernel].sparsity >= before[kernel].sparsity
    assert after[kernel].sparsity == pytest.approx(before[kernel].sparsity, abs=0.05)

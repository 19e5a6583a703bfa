from typing import Any

import pytest

from compression.order import StepError, check_order, with_one_quantization
from compression.settings.quantization import Quantize
from compression.settings.registry import STEPS
from compression.settings.step import Step


def steps(*entries: tuple[str, dict[str, Any]]) -> list[Step]:
    return [STEPS[kind].model_validate(settings) for kind, settings in entries]


ARCHITECTURE = ("architecture", {"image_size": 160})
PRUNED = ("supermask", {"sparsity": 0.95})
CLUSTERED = ("cluster", {"part": "decoder"})
AWARE = ("quantization_aware", {"part": "decoder"})
ENCODER_AWARE = ("quantization_aware", {"part": "encoder", "training": {"encoder_from": "pixels"}})
DYNAMIC = ("quantize", {"decoder": "dynamic"})
DISTILLED = ("distill", {"training": {"encoder_from": "block_13"}})
STORED: tuple[str, dict[str, Any]] = ("store", {})


def test_the_long_chain_is_sensible() -> None:
    check_order(steps(ARCHITECTURE, DISTILLED, PRUNED, ENCODER_AWARE, ("quantize", {"encoder": "int8"}), STORED))


def test_pruning_clustering_and_awareness_follow_each_other() -> None:
    check_order(steps(PRUNED, CLUSTERED, AWARE, DYNAMIC, STORED))


@pytest.mark.parametrize(
    ("entries", "index", "reason"),
    [
        ([STORED, DYNAMIC], 1, "put store last"),
        ([DYNAMIC, PRUNED], 1, "integers by then"),
        ([DYNAMIC, DYNAMIC], 1, "a format twice"),
        ([CLUSTERED, PRUNED], 1, "prune first"),
        ([CLUSTERED, CLUSTERED], 1, "clustered twice"),
        ([CLUSTERED, ("fine_tune", {}), DYNAMIC], 1, "dissolve"),
        ([PRUNED, ("factorize_embedding", {"rank": 8})], 1, "fill the decoder's zeros"),
        ([PRUNED, ("hard", {"part": "decoder", "sparsity": 0.9})], 1, "already"),
        ([AWARE, PRUNED], 1, "only quantize may follow"),
        ([PRUNED, AWARE], 1, "would stay in float"),
        ([ENCODER_AWARE, PRUNED], 1, "meant for int8"),
        ([AWARE, ("quantize", {"decoder": "float16"})], 1, "makes no use of it"),
        ([ARCHITECTURE, PRUNED], None, None),
        ([ARCHITECTURE, DYNAMIC], 0, "nothing trains it"),
        ([("tie_embedding", {}), DYNAMIC], 0, "nothing trains it"),
    ],
)
def test_a_senseless_order_is_refused_with_its_reason(
    entries: list[tuple[str, dict[str, Any]]], index: int | None, reason: str | None
) -> None:
    if index is None:
        with pytest.raises(StepError):  # the encoder's features are new to a decoder, and only the decoder trained
            check_order(steps(*entries))
        return
    with pytest.raises(StepError, match=reason) as caught:
        check_order(steps(*entries))
    assert caught.value.index == index


def test_a_quantized_part_leaves_the_other_free() -> None:
    check_order(steps(("quantize", {"encoder": "int8"}), PRUNED, DYNAMIC))


def test_conversions_become_one_behind_all_training() -> None:
    merged, places = with_one_quantization(steps(("quantize", {"encoder": "int8"}), PRUNED, DYNAMIC, STORED))
    assert [step.kind for step in merged] == ["supermask", "quantize", "store"]
    assert merged[1] == Quantize(encoder="int8", decoder="dynamic")
    assert places == (1, 2, 3)


def test_a_part_without_a_format_stays_in_float_beside_one_that_has() -> None:
    (merged,), _ = with_one_quantization(steps(("quantize", {"encoder": "int8", "keep_float": ["Conv_1"]})))
    assert merged == Quantize(encoder="int8", decoder="float32", keep_float=("Conv_1",))


def test_a_chain_without_conversion_has_none() -> None:
    assert with_one_quantization(steps(PRUNED))[0] == tuple(steps(PRUNED))

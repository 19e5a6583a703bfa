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
INT8_ENCODER = ("quantize", {"encoder": "int8"})
DISTILLED = ("distill", {"training": {"encoder_from": "block_13"}})
STORED: tuple[str, dict[str, Any]] = ("store", {})

FEATURES = {"objective": "features", "encoder_from": "block_13"}
WORDS = {"encoder_from": "block_13"}
ENCODER_PRUNED = ("magnitude", {"part": "encoder", "sparsity": 0.3, "training": WORDS})
ENCODER_PRUNED_ON_FEATURES = ("magnitude", {"part": "encoder", "sparsity": 0.3, "training": FEATURES})
ENCODER_CLUSTERED = ("cluster", {"part": "encoder"})
ALL_FEATURES = {"objective": "features", "encoder_from": "pixels"}
FEATURES_TUNED = ("fine_tune", {"training": FEATURES})
ENCODER_CLUSTERED_ON_FEATURES = ("cluster", {"part": "encoder", "training": FEATURES})
ENCODER_AWARE_ON_FEATURES = ("quantization_aware", {"part": "encoder", "training": FEATURES})
BOTH = ("quantize", {"encoder": "int8", "decoder": "dynamic"})
OTHER_ENCODER = ("architecture", {"encoder": "resnet50", "encoder_weights": "imagenet"})


def pruned(sparsity: float, *layers: str, kind: str = "magnitude", **settings: Any) -> tuple[str, dict[str, Any]]:
    return kind, {"part": "decoder", "sparsity": sparsity, "layers": layers or None, **settings}


def clustered(*layers: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return "cluster", {"part": "decoder", "layers": layers, **settings}


def test_the_long_chain_is_sensible() -> None:
    check_order(steps(ARCHITECTURE, DISTILLED, PRUNED, ENCODER_AWARE, INT8_ENCODER, STORED))


def test_pruning_clustering_and_awareness_follow_each_other() -> None:
    check_order(steps(PRUNED, CLUSTERED, AWARE, DYNAMIC, STORED))


@pytest.mark.parametrize(
    ("entries", "index", "reason"),
    [
        ([STORED, DYNAMIC], 1, "put store last"),
        ([DYNAMIC, PRUNED], 1, "integers by then"),
        ([DYNAMIC, DYNAMIC], 1, "a format twice"),
        ([CLUSTERED, PRUNED], 1, "dissolve the decoder's clusters; put it before"),
        ([CLUSTERED, CLUSTERED], 1, "clustered twice"),
        ([CLUSTERED, ("fine_tune", {}), DYNAMIC], 1, "dissolve"),
        ([PRUNED, ("factorize_embedding", {"rank": 8})], 1, "fill the decoder's zeros"),
        ([PRUNED, ("hard", {"part": "decoder", "sparsity": 0.9})], 1, "already"),
        ([AWARE, PRUNED], 1, "only quantize may follow"),
        ([PRUNED, AWARE], 1, "would stay in float"),
        ([AWARE, ("quantize", {"decoder": "float16"})], 1, "makes no use of it"),
        ([ARCHITECTURE, DYNAMIC], 0, "nothing trains it"),
        ([OTHER_ENCODER, ENCODER_PRUNED_ON_FEATURES], 0, "nothing trains it"),
        ([("tie_embedding", {}), DYNAMIC], 0, "nothing trains it"),
        ([FEATURES_TUNED], 0, "gives them already"),
        ([ENCODER_PRUNED, FEATURES_TUNED], 1, "gives them already"),
        ([ENCODER_PRUNED_ON_FEATURES, ("fine_tune", {}), FEATURES_TUNED], 2, "gives them already"),
        ([("hard", {"part": "decoder", "sparsity": 0.5, "training": FEATURES})], 0, "gives them already"),
        ([("snip", {"part": "encoder", "sparsity": 0.5, "training": ALL_FEATURES})], 0, "gives them already"),
    ],
)
def test_a_senseless_order_is_refused_with_its_reason(
    entries: list[tuple[str, dict[str, Any]]], index: int, reason: str
) -> None:
    with pytest.raises(StepError, match=reason) as caught:
        check_order(steps(*entries))
    assert caught.value.index == index


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([CLUSTERED, ENCODER_PRUNED], "the decoder's clusters; let it train on objective features, or put it before"),
        ([CLUSTERED, ENCODER_CLUSTERED], "the decoder's clusters"),
        ([CLUSTERED, ("fine_tune", {"training": WORDS})], "the decoder's clusters; put it before"),
        ([ENCODER_CLUSTERED, ("supermask", {"sparsity": 0.9, "training": WORDS})], "its training's encoder_from"),
        ([ENCODER_CLUSTERED, ("quantization_aware", {"part": "decoder", "training": WORDS})], "the encoder's clusters"),
        ([AWARE, ENCODER_PRUNED], "the decoder's weights away from the ranges.*; let it train on objective features"),
        ([AWARE, ENCODER_CLUSTERED], "the decoder's weights away from the ranges"),
        ([AWARE, ENCODER_AWARE], "the decoder's weights away from the ranges"),
        ([AWARE, DYNAMIC, ENCODER_PRUNED], "the decoder's weights are integers by then"),
        ([DYNAMIC, ENCODER_PRUNED], "the decoder's weights are integers by then.*; let it train on objective features"),
        ([INT8_ENCODER, pruned(0.5, training=WORDS)], "the encoder's weights are integers by then.*encoder_from"),
        ([ENCODER_AWARE, ENCODER_PRUNED], "the encoder's weights away from the ranges"),
        ([ENCODER_AWARE, ("fine_tune", {"training": WORDS})], "the encoder's weights away from the ranges"),
        ([ENCODER_AWARE, ENCODER_PRUNED_ON_FEATURES], "the encoder's weights away from the ranges"),
    ],
)
def test_a_step_that_undoes_in_training_what_was_done_to_the_other_part_is_refused(
    entries: list[tuple[str, dict[str, Any]]], reason: str
) -> None:
    with pytest.raises(StepError, match=reason) as caught:
        check_order(steps(*entries, BOTH))
    assert caught.value.index == len(entries) - 1


@pytest.mark.parametrize(
    "entries",
    [
        [CLUSTERED, ENCODER_PRUNED_ON_FEATURES, BOTH],
        [CLUSTERED, ENCODER_CLUSTERED_ON_FEATURES, BOTH],
        [CLUSTERED, ENCODER_AWARE, BOTH],
        [ENCODER_CLUSTERED, CLUSTERED, BOTH],
        [ENCODER_CLUSTERED_ON_FEATURES, ENCODER_AWARE, BOTH],
        [ENCODER_CLUSTERED, PRUNED, AWARE, BOTH],
        [AWARE, ENCODER_AWARE_ON_FEATURES, BOTH],
        [ENCODER_AWARE_ON_FEATURES, PRUNED, BOTH],
        [ENCODER_AWARE, ("fine_tune", {}), AWARE, BOTH],
        [PRUNED, ENCODER_PRUNED, BOTH],
        [PRUNED, ENCODER_PRUNED_ON_FEATURES, FEATURES_TUNED, FEATURES_TUNED, BOTH],
        [ENCODER_PRUNED_ON_FEATURES, ("cluster", {"part": "decoder", "training": FEATURES}), BOTH],
        [("snip", {"part": "encoder", "sparsity": 0.5, "training": FEATURES}), BOTH],
    ],
)
def test_a_step_that_leaves_alone_or_preserves_what_was_done_to_the_other_part_may_follow(
    entries: list[tuple[str, dict[str, Any]]],
) -> None:
    check_order(steps(*entries))


@pytest.mark.parametrize("frozen", [OTHER_ENCODER, ARCHITECTURE])
@pytest.mark.parametrize("trained", [("distill", {}), ("fine_tune", {}), PRUNED])
def test_a_new_encoder_may_stay_frozen_where_the_decoder_trains_on_its_features(
    frozen: tuple[str, dict[str, Any]], trained: tuple[str, dict[str, Any]]
) -> None:
    check_order(steps(frozen, trained))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pruned(0.95, "embedding"), pruned(0.8, "gates")),
        (pruned(0.95, "embedding"), pruned(0.8)),
        (pruned(0.95, "embedding"), pruned(0.8, "embedding", "gates")),
        (pruned(0.8), pruned(0.9, "gates")),
        (pruned(0.8, kind="hard"), pruned(0.8, "gates")),
        (pruned(0.8, kind="snip"), pruned(0.8, kind="hard", method="uniform")),
        (pruned(0.5), pruned(0.5, pattern="m_by_n")),
    ],
)
def test_a_pruning_may_follow_one_that_leaves_it_something_to_prune(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]
) -> None:
    check_order(steps(first, second))


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (pruned(0.8), pruned(0.8, "gates"), "the decoder has a sparsity of 0.8 already in gates: 0.8 takes nothing"),
        (pruned(0.8, "gates"), pruned(0.7, "gates_from_h"), "takes nothing more away"),
        (pruned(0.8, "a", "b"), pruned(0.8, "b", "a", kind="snip"), "takes nothing more away"),
        (pruned(0.8, kind="snip"), pruned(0.7, kind="hard"), "the decoder has a sparsity of 0.8 already"),
        (pruned(0.5, pattern="m_by_n"), pruned(0.5, pattern="m_by_n"), "takes nothing more away"),
    ],
)
def test_a_pruning_that_finds_all_its_zeros_there_is_refused(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]], reason: str
) -> None:
    with pytest.raises(StepError, match=reason):
        check_order(steps(first, second))


@pytest.mark.parametrize(
    "entry", [("cut_vocabulary", {"words": 9}), ("architecture", {"image_size": 160, "training": {}})]
)
@pytest.mark.parametrize("before", [PRUNED, ENCODER_PRUNED])
def test_zeros_outlast_what_keeps_the_weights(
    before: tuple[str, dict[str, Any]], entry: tuple[str, dict[str, Any]]
) -> None:
    check_order(steps(before, entry))


@pytest.mark.parametrize(
    ("before", "entry", "part"),
    [
        (PRUNED, OTHER_ENCODER, "decoder"),
        (PRUNED, ("architecture", {"decoder_settings": {"units": 3}}), "decoder"),
        (PRUNED, ("supermask", {"sparsity": 0.9, "restart": True}), "decoder"),
        (PRUNED, ("lottery_ticket", {"sparsity": 0.9, "rewind": "random"}), "decoder"),
        (PRUNED, ("tie_embedding", {}), "decoder"),
        (ENCODER_PRUNED, OTHER_ENCODER, "encoder"),
        (ENCODER_PRUNED, ("architecture", {"encoder_weights": "imagenet"}), "encoder"),
    ],
)
def test_what_begins_with_other_weights_must_not_follow_zeros(
    before: tuple[str, dict[str, Any]], entry: tuple[str, dict[str, Any]], part: str
) -> None:
    with pytest.raises(StepError, match=f"fill the {part}'s zeros"):
        check_order(steps(before, entry, ("fine_tune", {})))
    check_order(steps(entry, ("fine_tune", {}), before))


@pytest.mark.parametrize(
    "entry",
    [
        clustered("gates", training=None),
        ("hard", {"part": "decoder", "sparsity": 0.5}),
        ("cut_vocabulary", {"words": 9}),
    ],
)
def test_clusters_outlast_what_trains_nothing(entry: tuple[str, dict[str, Any]]) -> None:
    check_order(steps(clustered("embedding"), entry, AWARE, DYNAMIC))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (clustered("gates"), "its training would dissolve the decoder's clusters; say training: null"),
        (clustered("embedding", training=None), "clustered twice"),
        (("hard", {"part": "decoder", "sparsity": 0.5, "training": {}}), "its training would dissolve"),
        (("cut_vocabulary", {"words": 9, "training": {}}), "its training would dissolve"),
        (("architecture", {"decoder_settings": {"units": 3}}), "it would dissolve"),
    ],
)
def test_what_would_dissolve_clusters_is_refused(entry: tuple[str, dict[str, Any]], reason: str) -> None:
    with pytest.raises(StepError, match=reason):
        check_order(steps(clustered("embedding"), entry))


def test_a_quantized_part_leaves_the_other_free() -> None:
    check_order(steps(INT8_ENCODER, PRUNED, DYNAMIC))


def test_conversions_become_one_behind_all_training() -> None:
    merged, places = with_one_quantization(steps(INT8_ENCODER, PRUNED, DYNAMIC, STORED))
    assert [step.kind for step in merged] == ["supermask", "quantize", "store"]
    assert merged[1] == Quantize(encoder="int8", decoder="dynamic")
    assert places == (1, 2, 3)


def test_conversions_that_become_one_stand_where_layers_are_named() -> None:
    named = ("quantize", {"decoder": "dynamic", "keep_float": ["gates"]})
    for entries, place in (((named, ENCODER_PRUNED_ON_FEATURES, INT8_ENCODER), 0), ((INT8_ENCODER, named), 1)):
        assert with_one_quantization(steps(*entries))[1][-1] == place


def test_a_part_without_a_format_stays_in_float_beside_one_that_has() -> None:
    (merged,), _ = with_one_quantization(steps(("quantize", {"encoder": "int8", "keep_float": ["Conv_1"]})))
    assert merged == Quantize(encoder="int8", decoder="float32", keep_float=("Conv_1",))


def test_a_chain_without_conversion_has_none() -> None:
    assert with_one_quantization(steps(PRUNED))[0] == tuple(steps(PRUNED))


@pytest.mark.parametrize(
    ("encoder", "decoder", "expected"),
    [({}, {}, 200), ({"calibration_images": 20}, {}, 20), ({"calibration_images": 20}, {"calibration_images": 30}, 30)],
)
def test_ranges_are_measured_on_as_many_images_as_were_asked_for(
    encoder: dict[str, int], decoder: dict[str, int], expected: int
) -> None:
    chain = steps(("quantize", {"encoder": "int8", **encoder}), ("quantize", {"decoder": "int8", **decoder}))
    for (merged,) in (with_one_quantization(chain)[0], with_one_quantization(chain[::-1])[0]):
        assert isinstance(merged, Quantize)
        assert merged.calibration_images == expected

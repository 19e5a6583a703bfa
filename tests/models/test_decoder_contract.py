"""What every decoder must hold; a further one takes an entry in `VARIANTS`, and a file of its own for its equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caption_core.models.decoder import Decoder
from caption_core.models.decoder_registry import DECODERS
from tests.models.decoder_contract import (
    check_every_weight_learns,
    check_litert,
    check_precision,
    check_search,
    check_training_graph,
    tiny_decoder,
)

ATTENTION = {"value_units": 6, "attention_units": 4}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "aoa": ("aoa", {"heads": 2, "refining_layers": 2}),
    "merge": ("merge", {"merge": "concat"}),
    "merge, tied": ("merge", {"output": "tied"}),
    "merge, tied without a projection": ("merge", {"output": "tied", "embedding_units": 8}),
    "soft attention, lstm": ("soft_attention", ATTENTION),
    "soft attention, lstm of 3 heads": ("soft_attention", {**ATTENTION, "heads": 3}),
    "soft attention, gru of 2 heads": ("soft_attention", {**ATTENTION, "cell": "gru", "heads": 2}),
    "up_down": ("up_down", {"value_units": 7, "attention_units": 4}),
}


@pytest.fixture(params=VARIANTS)
def decoder(request: pytest.FixtureRequest) -> Decoder:
    name, settings = VARIANTS[request.param]
    return tiny_decoder(name, **settings)


def test_every_decoder_is_among_them() -> None:
    assert {name for name, _ in VARIANTS.values()} == set(DECODERS)


def test_steps_agree_with_the_training_graph(decoder: Decoder) -> None:
    check_training_graph(decoder)


def test_every_weight_learns(decoder: Decoder) -> None:
    check_every_weight_learns(decoder)


def test_search_and_samples(decoder: Decoder) -> None:
    check_search(decoder)


@pytest.mark.slow
def test_litert_agrees_with_tensorflow(decoder: Decoder, tmp_path: Path) -> None:
    check_litert(decoder, tmp_path)


@pytest.mark.parametrize(("precision", "within"), [("bfloat16", 0.05), ("float16", 0.01)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_fewer_bits_give_nearly_the_same(variant: str, precision: str, within: float) -> None:
    name, settings = VARIANTS[variant]
    check_precision(tiny_decoder(name, **settings), lambda: tiny_decoder(name, **settings), precision, within)

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caption_core.errors import UsageError
from caption_core.models.decoder_configs import SoftAttentionConfig
from caption_core.models.decoder_registry import DECODERS, build_decoder, decoder_config
from tests.models.decoder_contract import example, export_to_litert

NEEDED: dict[str, Any] = {"vocabulary_size": 300, "feature_channels": 96}


@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_has_a_test_file_of_its_own(name: str) -> None:
    assert (Path(__file__).parent / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", DECODERS)
def test_what_a_manifest_holds_makes_the_same_decoder(name: str) -> None:
    config = decoder_config(name, NEEDED)

    assert decoder_config(name, asdict(config)) == config


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("transformer", {}, "unknown decoder 'transformer'; known: aoa, merge"),
        ("merge", {"attention_units": 4}, "decoder merge: .*attention_units"),
        ("merge", {"merge": "multiply"}, "merge must be add or concat, not 'multiply'"),
        ("soft_attention", {"cell": "elman"}, "cell must be lstm or gru, not 'elman'"),
        ("soft_attention", {"heads": 3}, r"value_units \(512\) must be a multiple of heads \(3\)"),
        ("soft_attention", {"units": 0}, "units must be at least 1, not 0"),
        ("soft_attention", {"units": "many"}, "units must be of type int, not 'many'"),
        ("soft_attention", {"units": 2.5}, "units must be of type int, not 2.5"),
        ("soft_attention", {"units": True}, "units must be of type int, not True"),
        ("soft_attention", {"vocabulary_size": 0}, "vocabulary_size must be at least 1"),
        ("up_down", {"output_dropout": 1.0}, r"output_dropout must lie in \[0, 1\), not 1.0"),
        ("aoa", {"heads": 7}, r"units \(512\) must be a multiple of heads \(7\)"),
    ],
)
def test_impossible_settings_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        decoder_config(name, {**NEEDED, **settings})


@pytest.mark.parametrize("name", DECODERS)
def test_dropout_rates_are_scaled_together_and_nothing_else_is(name: str) -> None:
    config = decoder_config(name, NEEDED)
    before, after = asdict(config), asdict(config.with_scaled_dropout(0.5))
    assert all(rate == 0.5 * before[field] for field, rate in after.items() if field.endswith("_dropout"))
    assert all(value == before[field] for field, value in after.items() if not field.endswith("_dropout"))


def test_a_missing_size_is_named() -> None:
    with pytest.raises(UsageError, match=r"decoder merge: .*feature_channels"):
        decoder_config("merge", {"vocabulary_size": 5})


def test_settings_of_before_cells_and_heads_mean_what_they_meant() -> None:
    config = decoder_config("soft_attention", {**NEEDED, "units": 64})
    assert config == SoftAttentionConfig(**NEEDED, units=64, cell="lstm", heads=1)


def test_a_decoder_takes_no_other_ones_sizes() -> None:
    with pytest.raises(UsageError, match="merge takes a MergeConfig, not a SoftAttentionConfig"):
        build_decoder("merge", decoder_config("soft_attention", NEEDED))


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_exported_matrices_are_int8(name: str, tmp_path: Path) -> None:
    decoder = build_decoder(name, decoder_config(name, {**NEEDED, "units": 64, "embedding_units": 64}))
    runtime = export_to_litert(decoder, tmp_path)
    exported = sum((tmp_path / file).stat().st_size for file in ("start.tflite", "step.tflite"))
    assert exported < 0.4 * sum(4 * weight.shape.num_elements() for weight in decoder.weights)
    features = np.random.default_rng(0).normal(size=(2, 9, 96)).astype(np.float32)
    _, tokens = example(images=2, captions=1, length=1)
    state, step = runtime.start(features)
    logits, _ = step(tokens[:, :, 0].numpy(), state)
    expected = decoder(features, tokens).numpy()[:, :, 0]
    assert np.abs(logits - expected).max() < 0.1 * np.abs(expected).max()

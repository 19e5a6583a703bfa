"""Trained weights to a float bundle for the TensorFlow runtime."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from caption_core.bundle import MODEL_CARD, VOCABULARY, Bundle, open_bundle, write_bundle
from caption_core.model_card import render_model_card
from caption_core.models.architectures import EncoderConfig
from caption_core.models.decoder_configs import DecoderConfig
from caption_core.models.encoders import build_encoder
from caption_core.models.weights import WEIGHTS
from caption_core.search import SearchSettings
from caption_core.training.config import TrainConfig
from caption_core.vocabulary import Vocabulary


def write_baseline(
    config: TrainConfig, vocabulary: Vocabulary, weights: Path, history: list[dict[str, Any]], *, command: str
) -> Bundle:
    """Write the float bundle of a finished run, `OUTPUT/bundle`.

    Args:
        config: the run.
        vocabulary: the training captions' vocabulary.
        weights: the run's best weights, a safetensors file.
        history: one entry an epoch; the best epoch's dev scores go into the manifest.
        command: the command line that trained, for the provenance.
    """
    channels = build_encoder(config.encoder).output_shape[-1]
    decoder = config.decoder.config(vocabulary_size=len(vocabulary), feature_channels=channels)
    manifest = {
        "name": config.name,
        "runtime": "tensorflow",
        **model_fields(config.encoder, config.decoder.name, decoder),
        "search": _search_defaults(config),
        "provenance": {
            "trained_on": config.trained_on,
            "encoder_weights": weights_name(config.encoder_weights),
            "command": command,
            "seed": config.optimization.seed,
            **_ancestry(config),
            "notes": config.notes,
            "versions": {name: version(name) for name in ("tensorflow", "tf-keras", "ray")},
        },
        "metrics": {"dev split, greedy search": _best_scores(history)},
    }
    words = "".join(f"{word}\n" for word in vocabulary.words).encode()
    files: dict[str, Path | bytes] = {
        WEIGHTS: weights,
        VOCABULARY: words,
        MODEL_CARD: render_model_card(manifest).encode(),
    }
    return write_bundle(config.output / "bundle", manifest, files)


def model_fields(encoder: EncoderConfig, decoder_name: str, decoder: DecoderConfig) -> dict[str, Any]:
    """The manifest's `architecture` and `preprocessing` of a model."""
    height, width = encoder.size
    return {
        "architecture": {
            "encoder": encoder.name,
            "encoder_config": {"features": encoder.features, "width": encoder.width},
            "decoder": decoder_name,
            "decoder_config": asdict(decoder),
        },
        "preprocessing": {
            "height": height,
            "width": width,
            "scale": encoder.architecture.scale,
            "offset": encoder.architecture.offset,
        },
    }


def _best_scores(history: list[dict[str, Any]]) -> dict[str, float]:
    best = max((entry for entry in history if "dev_CIDEr-D" in entry), key=lambda entry: entry["dev_CIDEr-D"])
    return {name.removeprefix("dev_"): score for name, score in best.items() if name.startswith("dev_")}


def _ancestry(config: TrainConfig) -> dict[str, Any]:
    if not config.initial:
        return {}
    parent = open_bundle(config.initial)
    earlier = parent.manifest.provenance
    steps = [*earlier.steps, f"trained: {earlier.command}"]
    return {"parent": parent.model_id, "steps": steps, "encoder_weights": earlier.encoder_weights}


def weights_name(weights: str | None) -> str:
    """What a manifest calls an encoder's first weights; None are random ones."""
    if weights is None:
        return "random"
    return weights if weights == "imagenet" else Path(weights).name


def _search_defaults(config: TrainConfig) -> dict[str, float]:
    defaults = SearchSettings(max_tokens=config.data.max_tokens)
    return {name: getattr(defaults, name) for name in ("beam_width", "max_tokens", "length_penalty")}

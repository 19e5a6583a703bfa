"""The bundle that a run begins with: whether it is the model that the run would train."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from caption_core.bundle import Bundle, open_bundle
from caption_core.errors import UsageError
from caption_core.models.decoder_registry import decoder_config
from caption_core.training.config import TrainConfig


def check_ancestor(config: TrainConfig) -> None:
    """See to it that `config.initial`, where there is one, is a float bundle of the same model.

    Raises:
        UsageError: it isn't; the message names every difference.
    """
    if config.initial is None:
        return
    bundle = open_bundle(config.initial)
    if bundle.manifest.runtime != "tensorflow":
        raise UsageError(f"--initial {config.initial}: a {bundle.manifest.runtime} bundle can't be trained on")
    found, asked = _of_bundle(bundle), _of_config(config)
    shared = [name for name in asked if name in found]
    differing = [f"{name} {found[name]}, not {asked[name]}" for name in shared if found[name] != asked[name]]
    if differing:
        raise UsageError(f"--initial {config.initial} is another model: its {'; its '.join(differing)}")


def _of_bundle(bundle: Bundle) -> dict[str, Any]:
    architecture, preprocessing = bundle.manifest.architecture, bundle.manifest.preprocessing
    return {
        "encoder is": architecture.encoder,
        "features are": architecture.encoder_config.features,
        "encoder's width is": architecture.encoder_config.width,
        "images are": (preprocessing.height, preprocessing.width),
        "decoder is": architecture.decoder,
        **_sizes(architecture.decoder, architecture.decoder_config),
    }


def _of_config(config: TrainConfig) -> dict[str, Any]:
    encoder, decoder = config.encoder, config.decoder
    return {
        "encoder is": encoder.name,
        "features are": encoder.features,
        "encoder's width is": encoder.width,
        "images are": encoder.size,
        "decoder is": decoder.name,
        **_sizes(decoder.name, asdict(decoder.config(vocabulary_size=1, feature_channels=1))),
    }


def _sizes(decoder: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What shapes a decoder's weights: all but dropout rates, and sizes that data and encoder decide."""
    kept = asdict(decoder_config(decoder, settings))
    del kept["vocabulary_size"], kept["feature_channels"]
    return {f"decoder's {name} is": value for name, value in kept.items() if not name.endswith("_dropout")}

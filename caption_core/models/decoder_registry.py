"""The decoders that can be built, by name. TensorFlow is first imported when one of them is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from caption_core.errors import UsageError
from caption_core.models.decoder_configs import (
    AttentionOnAttentionConfig,
    DecoderConfig,
    MergeConfig,
    SoftAttentionConfig,
    UpDownConfig,
)

if TYPE_CHECKING:
    from caption_core.models.decoder import Decoder


@dataclass(frozen=True, slots=True)
class DecoderArchitecture:
    """What the system must know of a decoder.

    Attributes:
        config: its sizes.
        module: the module below `caption_core.models` that it lives in.
        model: its class there, made from a `config`.
        features: what it makes of an image: a vector (`global`) or a grid of them. Either comes as float32
            [B, L, channels]; a vector is a grid of L = 1, and a decoder of `global` features averages a larger grid.
    """

    config: type[DecoderConfig]
    module: str
    model: str
    features: Literal["global", "grid"]


DECODERS = {
    "aoa": DecoderArchitecture(AttentionOnAttentionConfig, "aoa", "AttentionOnAttentionDecoder", "grid"),
    "merge": DecoderArchitecture(MergeConfig, "merge", "MergeDecoder", "global"),
    "soft_attention": DecoderArchitecture(SoftAttentionConfig, "soft_attention", "SoftAttentionDecoder", "grid"),
    "up_down": DecoderArchitecture(UpDownConfig, "up_down", "UpDownDecoder", "grid"),
}


def decoder_architecture(name: str) -> DecoderArchitecture:
    """The decoder of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in DECODERS:
        raise UsageError(f"unknown decoder {name!r}; known: {', '.join(sorted(DECODERS))}")
    return DECODERS[name]


def decoder_config(name: str, settings: Mapping[str, Any]) -> DecoderConfig:
    """Validated sizes of a decoder, from a command line or a bundle's manifest.

    Raises:
        UsageError: an unknown decoder, an unknown or missing setting, or an impossible value.
    """
    architecture = decoder_architecture(name)
    try:
        return architecture.config(**settings)
    except TypeError as error:
        raise UsageError(f"decoder {name}: {str(error).rpartition('__init__() ')[2]}") from error


def check_features(name: str, features: str) -> None:
    """See to it that a decoder can take an encoder's features, `grid` or `global`.

    Raises:
        UsageError: it can't, or there is no such decoder.
    """
    if decoder_architecture(name).features == "grid" and features != "grid":
        raise UsageError(f"decoder {name} attends to a grid: it takes no {features} features")


def build_decoder(name: str, config: DecoderConfig) -> Decoder:
    """Build a decoder with random weights.

    Args:
        name: one of `DECODERS`.
        config: its sizes; see `decoder_config`.

    Raises:
        UsageError: an unknown name, or another decoder's sizes.
    """
    architecture = decoder_architecture(name)
    if type(config) is not architecture.config:
        raise UsageError(f"decoder {name} takes a {architecture.config.__name__}, not a {type(config).__name__}")
    module = import_module(f"caption_core.models.{architecture.module}")
    decoder: Decoder = getattr(module, architecture.model)(config)
    return decoder

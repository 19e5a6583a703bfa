"""Sizes and dropout rates of the decoders. No TensorFlow here: a job checks its arguments before it is imported."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from caption_core.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """What every decoder is told. A field of whole numbers is a size, one named `..._dropout` is a rate.

    Attributes:
        vocabulary_size: tokens, the special ones included.
        feature_channels: size of an image's feature vectors.
        embedding_units: size of a word's vector.
        feature_dropout, embedding_dropout, output_dropout: rates, while training only.
    """

    vocabulary_size: int
    feature_channels: int
    embedding_units: int
    feature_dropout: float
    embedding_dropout: float
    output_dropout: float

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_value(field.name, str(field.type), getattr(self, field.name))
        self._check()

    def with_scaled_dropout(self, scale: float) -> Self:
        """The same decoder's, every dropout rate times `scale` (from 0 to 1)."""
        rates = [field.name for field in fields(self) if field.name.endswith("_dropout")]
        return replace(self, **{name: scale * getattr(self, name) for name in rates})

    def _check(self) -> None:
        """Checks of one decoder's own (`super().__post_init__` doesn't work in a dataclass with slots)."""

    def _check_divides(self, heads: int, units: str) -> None:
        if getattr(self, units) % heads:
            raise UsageError(f"decoder: {units} ({getattr(self, units)}) must be a multiple of heads ({heads})")

    def _check_choice(self, name: str, choices: tuple[str, ...]) -> None:
        if getattr(self, name) not in choices:
            raise UsageError(f"decoder: {name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")


def _check_value(name: str, kind: str, value: object) -> None:
    """Values come from command lines and manifests: their types are not taken on trust."""
    accepted = {"int": (int,), "float": (int, float), "str": (str,)}[kind]
    if isinstance(value, bool) or not isinstance(value, accepted):
        raise UsageError(f"decoder: {name} must be of type {kind}, not {value!r}")
    if kind == "int" and isinstance(value, int) and value < 1:
        raise UsageError(f"decoder: {name} must be at least 1, not {value}")
    if kind == "float" and isinstance(value, (int, float)) and not 0.0 <= value < 1.0:
        raise UsageError(f"decoder: {name} must lie in [0, 1), not {value}")


@dataclass(frozen=True, slots=True)
class SoftAttentionConfig(DecoderConfig):
    """Sizes of `soft_attention`, in units; dropout rates apply while training only.

    Attributes:
        cell: `lstm` or `gru`.
        heads: attention distributions over the grid, each over its own share of the values.
    """

    units: int = 512
    embedding_units: int = 256
    value_units: int = 512
    attention_units: int = 256
    feature_dropout: float = 0.3
    embedding_dropout: float = 0.3
    output_dropout: float = 0.5
    # What bundles of before these two fields were made with.
    cell: str = "lstm"
    heads: int = 1

    def _check(self) -> None:
        self._check_choice("cell", ("lstm", "gru"))
        self._check_divides(self.heads, "value_units")


@dataclass(frozen=True, slots=True)
class UpDownConfig(DecoderConfig):
    """Sizes of `up_down`, in units; both LSTMs have `units`. Dropout rates apply while training only."""

    units: int = 512
    embedding_units: int = 256
    value_units: int = 512
    attention_units: int = 256
    feature_dropout: float = 0.3
    embedding_dropout: float = 0.3
    output_dropout: float = 0.5


@dataclass(frozen=True, slots=True)
class MergeConfig(DecoderConfig):
    """Sizes of `merge`, in units; dropout rates apply while training only.

    Attributes:
        merge: `add` or `concat`, how the image's vector joins the words'.
        output: `dense`, a layer of its own, or `tied` to the word embedding (arXiv 1608.05859), with a projection
            before it where `units` are not `embedding_units`.
    """

    units: int = 256
    embedding_units: int = 256
    feature_dropout: float = 0.5
    embedding_dropout: float = 0.5
    output_dropout: float = 0.3
    merge: str = "add"
    output: str = "dense"  # what bundles of before this field were made with

    def _check(self) -> None:
        self._check_choice("merge", ("add", "concat"))
        self._check_choice("output", ("dense", "tied"))


@dataclass(frozen=True, slots=True)
class AttentionOnAttentionConfig(DecoderConfig):
    """Sizes of `aoa`, in units; dropout rates apply while training only.

    Attributes:
        units: of the LSTM, of every attention, and of the refined features.
        heads: of every attention; each has units / heads.
        refining_layers: layers of the refining encoder (the paper has 6).
    """

    units: int = 512
    embedding_units: int = 256
    heads: int = 8
    refining_layers: int = 3
    feature_dropout: float = 0.3
    refining_dropout: float = 0.1
    embedding_dropout: float = 0.3
    output_dropout: float = 0.5

    def _check(self) -> None:
        self._check_divides(self.heads, "units")

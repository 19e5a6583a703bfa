"""What a captioner is built from, and what steps make of that. No TensorFlow here: recipes are checked before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig, check_encoder
from caption_core.models.decoder_configs import DecoderConfig
from caption_core.models.decoder_registry import check_features, decoder_config
from caption_core.vocabulary import SPECIAL_TOKENS
from compression.settings.architecture import Architecture, CutVocabulary, FactorizeEmbedding, TieEmbedding
from compression.settings.step import Step

_DECIDED_ELSEWHERE = ("vocabulary_size", "feature_channels")

WORD_READERS = {
    "aoa": "gates_from_word",
    "merge": "gates_from_word",
    "soft_attention": "gates_from_word",
    "up_down": "attend_from_word",
}
"""The layer of each decoder that embedded words go through."""


@dataclass(frozen=True, slots=True)
class Design:
    """What a captioner is built from.

    Attributes:
        encoder: its encoder.
        decoder: its decoder's name.
        settings: the decoder's, but for the sizes that vocabulary and encoder decide.
        vocabulary_size: tokens, the special ones included.
    """

    encoder: EncoderConfig
    decoder: str
    settings: Mapping[str, int | float | str]
    vocabulary_size: int

    def __post_init__(self) -> None:
        check_features(self.decoder, self.encoder.features)
        if given := self.settings.keys() & set(_DECIDED_ELSEWHERE):
            raise UsageError(f"decoder: {min(given)} follows from vocabulary and encoder, and can't be set")
        self.decoder_config(feature_channels=1)

    def decoder_config(self, feature_channels: int) -> DecoderConfig:
        """The decoder's sizes, all of them."""
        sizes = {"vocabulary_size": self.vocabulary_size, "feature_channels": feature_channels}
        return decoder_config(self.decoder, {**self.settings, **sizes})

    @property
    def embedding_units(self) -> int:
        """Size of a word's vector."""
        return self.decoder_config(feature_channels=1).embedding_units

    @property
    def is_tied(self) -> bool:
        """Whether the output layer is the word embedding."""
        return self.decoder != "merge" or self.settings.get("output") == "tied"


def design_of(manifest: Manifest) -> Design:
    """What a bundle's captioner is built from.

    Raises:
        UsageError: of something that is not known here.
    """
    sizes = manifest.architecture.decoder_config
    settings = {name: value for name, value in sizes.items() if name not in _DECIDED_ELSEWHERE}
    return Design(manifest.encoder, manifest.architecture.decoder, settings, int(sizes["vocabulary_size"]))


def check(step: Step, manifest: Manifest) -> None:
    """See to it that a captioner can take a step.

    Raises:
        UsageError: it can't; the message says why.
    """
    design_after(step, design_of(manifest))


def design_after(step: Step, design: Design) -> Design:
    """What a step makes of a design; most steps change none.

    Raises:
        UsageError: the step is impossible there.
    """
    if isinstance(step, Architecture):
        return _exchanged(step, design)
    if isinstance(step, FactorizeEmbedding):
        return _factorized(step, design)
    if isinstance(step, TieEmbedding):
        return _tied(design)
    if isinstance(step, CutVocabulary):
        return _cut(step, design)
    return design


def takes_encoder_weights(step: Architecture, design: Design) -> bool:
    """Whether the new encoder begins with the present one's weights: it is of its name and width, and no file is named.

    A file's weights, or random ones where none is named, are what it begins with otherwise.
    """
    encoder = _exchanged_encoder(step, design.encoder)
    same = (encoder.name, encoder.width) == (design.encoder.name, design.encoder.width)
    return step.encoder_weights is None and same


def begins_at_random(step: Step, design: Design) -> bool:
    """Whether a step gives the encoder weights that are random, for neither the present one's nor a file's fit it."""
    if not isinstance(step, Architecture) or step.encoder_weights is not None:
        return False
    gets_head = _exchanged_encoder(step, design.encoder).source.head and not design.encoder.source.head
    return gets_head or not takes_encoder_weights(step, design)


def _exchanged(step: Architecture, design: Design) -> Design:
    encoder = _exchanged_encoder(step, design.encoder)
    check_encoder(encoder, step.encoder_weights)
    if takes_encoder_weights(step, design) and encoder.source.head and encoder.size != design.encoder.size:
        raise UsageError(f"{encoder.features} features of {encoder.name} are tied to the image size of their weights")
    decoder = step.decoder or design.decoder
    kept = design.settings if decoder == design.decoder else {}
    return replace(design, encoder=encoder, decoder=decoder, settings={**kept, **step.decoder_settings})


def _exchanged_encoder(step: Architecture, present: EncoderConfig) -> EncoderConfig:
    name = step.encoder or present.name
    # A width is one architecture's own measure: 0.5 of this one says nothing of another.
    width = step.encoder_width or (present.width if name == present.name else 1.0)
    size = (step.image_size, step.image_size) if step.image_size else present.size
    return EncoderConfig(name, step.encoder_features or present.features, width, size)


def _factorized(step: FactorizeEmbedding, design: Design) -> Design:
    if design.decoder not in WORD_READERS:
        raise UsageError(f"decoder {design.decoder}: it is not known which layer reads its embedded words")
    units = design.embedding_units
    if step.rank >= min(units, design.vocabulary_size):
        raise UsageError(f"rank ({step.rank}) must lie below the decoder's embedding_units ({units}) and its tokens")
    hidden_units = getattr(design.decoder_config(feature_channels=1), "units", None)
    if design.decoder == "merge" and design.is_tied and step.rank == hidden_units:
        raise UsageError(f"rank {step.rank} is the decoder's units: its output would have no projection; take another")
    return replace(design, settings={**design.settings, "embedding_units": step.rank})


def _tied(design: Design) -> Design:
    if design.is_tied:
        raise UsageError(f"decoder {design.decoder} has its output tied to the embedding already")
    return replace(design, settings={**design.settings, "output": "tied"})


def _cut(step: CutVocabulary, design: Design) -> Design:
    tokens = step.words + len(SPECIAL_TOKENS)
    if tokens >= design.vocabulary_size:
        limit = f"the decoder's vocabulary_size ({design.vocabulary_size})"
        raise UsageError(f"words and special tokens ({tokens}) must lie below {limit}")
    return replace(design, vocabulary_size=tokens)

"""Captioners of another design than their parents', from weights to the finished bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from caption_core.bundle import Bundle
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_registry import build_decoder
from caption_core.models.encoders import build_encoder
from caption_core.models.weights import Weights, assign_weights
from caption_core.training.baseline import model_fields
from caption_core.vocabulary import Vocabulary
from compression.architecture_change import Design
from compression.context import StepContext, child_manifest, record_step, write_float_child
from compression.fine_tuning import Tuner
from compression.settings.architecture import Architecture, CutVocabulary, FactorizeEmbedding, TieEmbedding

Rebuilding = Architecture | CutVocabulary | FactorizeEmbedding | TieEmbedding
"""The steps that change sizes."""


def with_decoder(model: CaptioningModel, design: Design, weights: Weights) -> CaptioningModel:
    """The model's encoder with a decoder of `design`, of weights by their names in files (`decoder/...`)."""
    config = design.decoder_config(model.decoder.config.feature_channels)
    decoder = build_decoder(design.decoder, config)
    assign_weights("decoder", decoder, weights)
    return CaptioningModel(model.encoder, decoder)


def random_model(design: Design, encoder_weights: str | None = None) -> CaptioningModel:
    """A captioner of a design with random weights, but for the encoder's where a file of them is named."""
    encoder = build_encoder(design.encoder, encoder_weights)
    config = design.decoder_config(encoder.output_shape[-1])
    return CaptioningModel(encoder, build_decoder(design.decoder, config))


def train_and_write(
    context: StepContext,
    step: Rebuilding,
    model: CaptioningModel,
    design: Design,
    *,
    did: str,
    measured: Mapping[str, Any],
    vocabulary: Vocabulary | None = None,
    encoder_weights: str | None = None,
) -> Bundle:
    """Train a rebuilt model if the step says so, and write it with its design and its record.

    Args:
        did: what was done, in words.
        measured: what the record says beside settings and history.
        vocabulary: if it isn't the parent's.
        encoder_weights: what the encoder began with, if it isn't the parent's.
    """
    history = Tuner(context, model, step.training, vocabulary=vocabulary).run() if step.training else []
    fields = model_fields(design.encoder, design.decoder, model.decoder.config)
    if encoder_weights is not None:
        provenance = child_manifest(context, f"{step.kind}: {did}")["provenance"]
        fields["provenance"] = {**provenance, "encoder_weights": encoder_weights}
    words = None if vocabulary is None else "".join(f"{word}\n" for word in vocabulary.words).encode()
    bundle = write_float_child(context, step, model, did=did, fields=fields, vocabulary=words)
    record_step(context, step, history=history, **measured)
    return bundle

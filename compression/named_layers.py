"""Whether the layers that a recipe names are there, and can be pruned as it says, before any work.

Names follow from a captioner's design alone: what a step will find is looked up in a model of random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from caption_core.bundle import Manifest
from caption_core.errors import UsageError
from caption_core.models.architectures import EncoderConfig
from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_registry import build_decoder, decoder_config
from caption_core.models.encoders import build_encoder
from compression.architecture_change import Design, design_after, design_of
from compression.kept_float import kept_float
from compression.order import StepError
from compression.places import Place, chosen_places
from compression.settings.clustering import Cluster
from compression.settings.pruning import Hard, LotteryTicket, Magnitude, Snip, Supermask
from compression.settings.quantization import Quantize
from compression.settings.step import Step
from compression.steps.pruning_patterns import PATTERNS
from compression.trained_places import split_places


def check_layers(steps: Sequence[Step], manifest: Manifest) -> None:
    """See to it that each step finds the layers that it names, and that its pattern fits them.

    Raises:
        StepError: it doesn't.
    """
    design = design_of(manifest)
    for index, step in enumerate(steps):
        design = design_after(step, design)
        if step.asks_of_layers:
            try:
                _check(step, _model(design))
            except UsageError as error:
                raise StepError(index, f"{step.kind}: {error}") from error


def _model(design: Design) -> CaptioningModel:
    return _build(design.encoder, design.decoder, tuple(sorted(design.settings.items())), design.vocabulary_size)


@lru_cache(maxsize=4)  # for a study, whose variants are mostly of one design
def _build(
    encoder_config: EncoderConfig, decoder: str, settings: tuple[tuple[str, int | float | str], ...], words: int
) -> CaptioningModel:
    encoder = build_encoder(encoder_config)
    sizes = {"vocabulary_size": words, "feature_channels": encoder.output_shape[-1]}
    return CaptioningModel(encoder, build_decoder(decoder, decoder_config(decoder, {**dict(settings), **sizes})))


def _check(step: Step, model: CaptioningModel) -> None:
    if isinstance(step, Quantize):
        kept_float(model, step.keep_float)
    elif isinstance(step, (Magnitude, Snip, Supermask)):
        trained, _ = split_places(model, step)
        _check_pattern(step, trained)
    elif isinstance(step, (Hard, LotteryTicket, Cluster)):
        chosen_places(model, step.part, step.layers)


def _check_pattern(step: Magnitude | Snip | Supermask, places: Sequence[Place]) -> None:
    if isinstance(step, Magnitude):
        for place in places:
            PATTERNS[step.pattern](place, step)

"""Random weights in place of trained ones, for methods that train a pruned model anew."""

from __future__ import annotations

import tf_keras

from caption_core.models.captioning import CaptioningModel
from caption_core.models.decoder_registry import build_decoder
from caption_core.models.weights import assign_weights, named_weights
from compression.context import StepContext


def restart_decoder(context: StepContext, model: CaptioningModel) -> None:
    """Give the decoder the random weights that the context's seed draws for its architecture."""
    tf_keras.utils.set_random_seed(context.seed)
    fresh = build_decoder(context.parent.manifest.architecture.decoder, model.decoder.config)
    assign_weights("decoder", model.decoder, named_weights("decoder", fresh))

"""A dense output layer replaced by the word embedding (Press and Wolf 2017, arXiv 1608.05859)."""

from __future__ import annotations

import numpy as np

from caption_core.bundle import Bundle
from caption_core.models.weights import Weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.architecture_change import design_after, design_of
from compression.context import StepContext
from compression.rebuilding import train_and_write, with_decoder
from compression.settings.architecture import TieEmbedding

_EMBEDDING = "decoder/embedding"
_READER = "decoder/gates_from_word/kernel"
_OUTPUT = "decoder/output_layer"
_PROJECTION = "decoder/output_projection"


def apply(step: TieEmbedding, context: StepContext) -> Bundle:
    """Tie the output of a `merge` decoder to its embedding; one of both was trained as something else, so train on.

    Raises:
        UsageError: the decoder's output is tied already.
    """
    design = design_after(step, design_of(context.parent.manifest))
    model = load_model(context.parent)
    weights = tied(named_weights("decoder", model.decoder))
    return train_and_write(
        context, step, with_decoder(model, design, weights), design, did="output and embedding", measured={}
    )


def tied(weights: Weights) -> Weights:
    """A tied decoder's weights from a dense one's.

    Where a word's vector is as long as an output's, the output layer becomes the embedding and says what it said; the
    layer that reads words becomes the one that makes of the new vectors most nearly what it made of the old ones.
    Elsewhere the embedding stays, and a projection comes before it that gives most nearly the dense layer's logits.
    Nearest is in least squares, over all words alike.
    """
    kept = {name: array for name, array in weights.items() if not name.startswith(_OUTPUT)}
    output, embedding = weights[f"{_OUTPUT}/kernel"].T, weights[_EMBEDDING]  # [V, units], [V, embedding_units]
    kept["decoder/output_bias"] = weights[f"{_OUTPUT}/bias"]
    if output.shape == embedding.shape:
        reader = np.linalg.lstsq(output, embedding @ weights[_READER], rcond=None)[0]
        return {**kept, _EMBEDDING: output, _READER: reader}
    projection = np.linalg.lstsq(embedding, output, rcond=None)[0].T  # [units, embedding_units]
    return {
        **kept,
        f"{_PROJECTION}/kernel": projection,
        f"{_PROJECTION}/bias": np.zeros(embedding.shape[1], np.float32),
    }

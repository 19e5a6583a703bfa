"""Another encoder, another decoder, or another size of one of them.

What fits of the parent's weights is taken over; the rest is random, by the step's seed, or a file's:

- The encoder: where name and width stay and no file is named, every weight of equal name and shape, which is all of
  them at another image size, for convolutions don't depend on it. Else the file's, or random ones.
- A decoder of the same kind: every weight of equal name and shape. A matrix of which one side has changed is random as
  a whole; the word embedding stays where `embedding_units` do.
- A decoder of another kind: the word embedding and the output's bias where their shapes are equal; all else means
  something else there.
"""

from __future__ import annotations

from collections.abc import Iterable

import tf_keras

from caption_core.bundle import Bundle
from caption_core.models.captioning import CaptioningModel
from caption_core.models.weights import Weights, assign_weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from caption_core.training.baseline import weights_name
from compression.architecture_change import Design, design_after, design_of, takes_encoder_weights
from compression.context import StepContext
from compression.rebuilding import random_model, train_and_write
from compression.settings.architecture import Architecture

_OF_WORDS = ("decoder/embedding", "decoder/output_bias")


def apply(step: Architecture, context: StepContext) -> Bundle:
    """Build the new captioner, and give it what fits of the parent's weights.

    Raises:
        UsageError: no such encoder or decoder, impossible settings, or a weights file that is missing or doesn't fit.
    """
    present = design_of(context.parent.manifest)
    design = design_after(step, present)
    parent = load_model(context.parent)
    tf_keras.utils.set_random_seed(context.seed)
    model = random_model(design, step.encoder_weights)
    taken = {
        "encoder": _take_over("encoder", model.encoder, _encoder_weights(step, present, parent)),
        "decoder": _take_over("decoder", model.decoder, _decoder_weights(present, design, parent)),
    }
    begun_anew = not takes_encoder_weights(step, present)
    return train_and_write(
        context,
        step,
        model,
        design,
        did=_describe(present, design),
        measured={"weights_taken_over": taken},
        encoder_weights=weights_name(step.encoder_weights) if begun_anew else None,
    )


def _encoder_weights(step: Architecture, present: Design, parent: CaptioningModel) -> Weights:
    return named_weights("encoder", parent.encoder) if takes_encoder_weights(step, present) else {}


def _decoder_weights(present: Design, design: Design, parent: CaptioningModel) -> Weights:
    weights = named_weights("decoder", parent.decoder)
    return weights if design.decoder == present.decoder else _only(weights, _OF_WORDS)


def _only(weights: Weights, names: Iterable[str]) -> Weights:
    return {name: weights[name] for name in names if name in weights}


def _take_over(prefix: str, model: tf_keras.Model, weights: Weights) -> dict[str, int]:
    """Set what fits of `weights`; counts the model's weights, and those that were set."""
    own = named_weights(prefix, model)
    fitting = {name: array for name, array in _only(weights, own).items() if array.shape == own[name].shape}
    assign_weights(prefix, model, own | fitting)
    return {"taken_over": len(fitting), "of": len(own)}


def _describe(present: Design, design: Design) -> str:
    before, after = _texts(present), _texts(design)
    changes = [f"{name} {before.get(name, 'new')} to {value}" for name, value in after.items()]
    return ", ".join(text for text, name in zip(changes, after, strict=True) if before.get(name) != after[name])


def _texts(design: Design) -> dict[str, str]:
    encoder = design.encoder
    height, width = encoder.size
    texts = {"encoder": encoder.name, "features": encoder.features, "width": f"{encoder.width:g}"}
    texts |= {"images": f"{height} x {width}", "decoder": design.decoder}
    return texts | {name: str(value) for name, value in design.settings.items()}

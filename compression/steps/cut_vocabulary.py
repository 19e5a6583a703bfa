"""The most frequent words only: the embedding and the output layer lose the rows of all others."""

from __future__ import annotations

from caption_core.bundle import VOCABULARY, Bundle
from caption_core.models.weights import Weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from caption_core.vocabulary import Vocabulary
from compression.architecture_change import design_after, design_of
from compression.context import StepContext
from compression.rebuilding import train_and_write, with_decoder
from compression.settings.architecture import CutVocabulary

_TOKENS_FIRST = ("decoder/embedding", "decoder/output_bias", "decoder/output_layer/bias")
_TOKENS_LAST = ("decoder/output_layer/kernel",)


def apply(step: CutVocabulary, context: StepContext) -> Bundle:
    """Keep the first words of the parent's vocabulary, which is in the order of their frequency.

    The kept words' logits stay what they were. Training captions have the unknown token in place of the others.

    Raises:
        UsageError: the vocabulary has no more words than are to remain.
    """
    design = design_after(step, design_of(context.parent.manifest))
    model = load_model(context.parent)
    weights = without_tokens(named_weights("decoder", model.decoder), design.vocabulary_size)
    words = Vocabulary.load(context.parent.path(VOCABULARY)).words
    return train_and_write(
        context,
        step,
        with_decoder(model, design, weights),
        design,
        did=f"{step.words} of {len(words)} words",
        measured={"words": step.words, "words_before": len(words)},
        vocabulary=Vocabulary(words[: step.words]),
    )


def without_tokens(weights: Weights, tokens: int) -> Weights:
    """A decoder's weights for its first so many tokens."""
    first = {name: weights[name][:tokens] for name in _TOKENS_FIRST if name in weights}
    return {**weights, **first, **{name: weights[name][:, :tokens] for name in _TOKENS_LAST if name in weights}}

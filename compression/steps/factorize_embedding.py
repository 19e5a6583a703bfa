"""The word embedding as a product of two matrices, the smaller of which disappears in its neighbours.

Lan et al. 2020 (arXiv 1909.11942) train such an embedding; here it is the truncated singular value decomposition of a
trained one, its best approximation of that rank (Eckart and Young 1936). What reads embedded words, and what is
compared with them, is linear: the small factor is multiplied into these layers once, and the captioner is one of the
same architecture with `rank` embedding units.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import Bundle
from caption_core.models.weights import Weights, named_weights
from caption_core.runtimes.tensorflow import load_model
from compression.architecture_change import WORD_READERS, Design, design_after, design_of
from compression.context import StepContext
from compression.rebuilding import train_and_write, with_decoder
from compression.settings.architecture import FactorizeEmbedding

_EMBEDDING = "decoder/embedding"
_PROJECTION = "decoder/output_projection"


def apply(step: FactorizeEmbedding, context: StepContext) -> Bundle:
    """Factorize the embedding; of a decoder whose output isn't tied to it, only what reads words changes along.

    Raises:
        UsageError: the rank doesn't lie below the embedding's units.
    """
    parent = design_of(context.parent.manifest)
    design = design_after(step, parent)
    model = load_model(context.parent)
    weights = named_weights("decoder", model.decoder)
    return train_and_write(
        context,
        step,
        with_decoder(model, design, factorized(weights, parent, step.rank)),
        design,
        did=f"rank {step.rank} of {parent.embedding_units}",
        measured={"relative_error": round(relative_error(weights[_EMBEDDING], step.rank), 4)},
    )


def factorized(weights: Weights, parent: Design, rank: int) -> Weights:
    """A decoder's weights with embeddings of `rank` units; logits are the same if that is the embedding's rank.

    Args:
        weights: of a decoder of `parent`.
        rank: at most its embedding units.
    """
    words, basis = factors(weights[_EMBEDDING], rank)
    reader = f"decoder/{WORD_READERS[parent.decoder]}/kernel"
    changed = {_EMBEDDING: words, reader: basis @ weights[reader]}
    if parent.is_tied:
        changed |= _projection(weights, basis)
    return {**weights, **{name: np.asarray(array, np.float32) for name, array in changed.items()}}


def _projection(weights: Weights, basis: NDArray[np.float32]) -> Weights:
    """The output projection onto the basis; a decoder that had none, its units being the embedding's, gets one."""
    if f"{_PROJECTION}/kernel" not in weights:
        return {f"{_PROJECTION}/kernel": basis.T, f"{_PROJECTION}/bias": np.zeros(len(basis), np.float32)}
    return {name: weights[name] @ basis.T for name in (f"{_PROJECTION}/kernel", f"{_PROJECTION}/bias")}


def factors(table: NDArray[np.float32], rank: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The nearest product of two matrices to a table, [rows, rank] and [rank, columns].

    The second's rows are orthonormal: rows of the first are as long as the table's, and as far from one another.
    """
    left, values, right = np.linalg.svd(table, full_matrices=False)
    return (left * values)[:, :rank], right[:rank]


def relative_error(table: NDArray[np.float32], rank: int) -> float:
    """Share of the table's Frobenius norm that a product of that rank leaves out."""
    squares = np.linalg.svd(table, compute_uv=False).astype(np.float64) ** 2
    return float(np.sqrt(squares[rank:].sum() / squares.sum()))

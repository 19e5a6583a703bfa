"""The metrics written out plainly, with dictionaries of tuples: what the vectorized ones are held against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

Tokens = Sequence[str]
Corpus = Mapping[str, tuple[Tokens, Sequence[Tokens]]]


def ngrams(tokens: Tokens, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def bleu(corpus: Corpus) -> list[float]:
    """coco-caption's corpus BLEU-1..4 with the closest reference length."""
    correct, guessed, length, reference_length = [0] * 4, [0] * 4, 0, 0
    for candidate, references in corpus.values():
        length += len(candidate)
        reference_length += min((abs(len(r) - len(candidate)), len(r)) for r in references)[1]
        for order in range(1, 5):
            counts = ngrams(candidate, order)
            guessed[order - 1] += sum(counts.values())
            most = [ngrams(r, order) for r in references]
            correct[order - 1] += sum(min(n, max(m[gram] for m in most)) for gram, n in counts.items())
    scores, product = [], 1.0
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    for order in range(4):
        product *= (correct[order] + 1e-15) / (guessed[order] + 1e-9)
        scores.append(product ** (1 / (order + 1)) * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0))
    return scores


def common_subsequence(one: Tokens, other: Tokens) -> int:
    row = [0] * (len(other) + 1)
    for word in one:
        previous, row = row, [0]
        for index, against in enumerate(other):
            row.append(previous[index] + 1 if word == against else max(row[index], previous[index + 1]))
    return row[-1]


def rouge_l(candidate: Tokens, references: Sequence[Tokens]) -> float:
    candidate = candidate or [""]
    references = [reference or [""] for reference in references]
    common = [common_subsequence(candidate, reference) for reference in references]
    precision = max(common) / len(candidate)
    recall = max(shared / len(reference) for shared, reference in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + 1.2**2) * precision * recall / (recall + 1.2**2 * precision)


def cider(corpus: Corpus, *, clipped: bool) -> dict[str, float]:
    """CIDEr-D where clipped, else CIDEr, of each image."""
    frequency = Counter(
        gram
        for _, references in corpus.values()
        for gram in {g for r in references for order in range(1, 5) for g in ngrams(r, order)}
    )

    def weigh(tokens: Tokens, order: int) -> dict[tuple[str, ...], float]:
        total = math.log(len(corpus))
        return {g: n * (total - math.log(max(1, frequency[g]))) for g, n in ngrams(tokens, order).items()}

    def similarity(candidate: Tokens, reference: Tokens, order: int) -> float:
        ours, theirs = weigh(candidate, order), weigh(reference, order)
        shared = sum((min(w, theirs[g]) if clipped else w) * theirs[g] for g, w in ours.items() if g in theirs)
        norm = math.sqrt(sum(w * w for w in ours.values())) * math.sqrt(sum(w * w for w in theirs.values()))
        delta = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
        penalty = math.exp(-(delta**2) / (2 * 6.0**2)) if clipped else 1.0
        return shared / norm * penalty if norm else 0.0

    return {
        name: 10 * sum(similarity(c, r, order) for r in references for order in range(1, 5)) / 4 / len(references)
        for name, (c, references) in corpus.items()
    }

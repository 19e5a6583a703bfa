"""Joining captions with references by image, and what becomes of those that don't match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum

from caption_core.metrics.scores import MetricError

_MAX_EXAMPLES = 5


class MissingPolicy(str, Enum):
    """What to do with an image that has references but no caption."""

    ERROR = "error"  # stop
    EMPTY = "empty"  # score it as an empty caption: zero on every metric
    SKIP = "skip"  # leave it out of the score


class MismatchPolicy(str, Enum):
    """What to do with a caption that has no reference, or with a second caption of an image."""

    ERROR = "error"  # stop
    SKIP = "skip"  # leave it out; of several captions of an image the first is scored


@dataclass(frozen=True, slots=True)
class PairingPolicy:
    """What to do where captions and references don't match one to one. Whatever is chosen is counted and reported.

    Attributes:
        missing: images with references but no caption, images that the captioner failed on included.
        extra: captions of images without a reference.
        duplicates: images with more than one caption.
    """

    missing: MissingPolicy = MissingPolicy.ERROR
    extra: MismatchPolicy = MismatchPolicy.ERROR
    duplicates: MismatchPolicy = MismatchPolicy.ERROR


@dataclass(slots=True)
class Tally:
    """How many, and a few of them by name."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """Count one."""
        self.count += 1
        if len(self.examples) < _MAX_EXAMPLES:
            self.examples.append(name)

    def merge(self, other: Tally) -> None:
        """Count what `other` counted."""
        self.count += other.count
        self.examples = [*self.examples, *other.examples][:_MAX_EXAMPLES]


@dataclass(slots=True)
class Coverage:
    """How captions and references matched; adds up over buckets.

    Attributes:
        with_references: images of the references, inside the chosen split.
        scored: images that were scored.
        references: references of these images.
        missing: images of the references without any caption.
        failed: images of the references that the captioner failed on (status 'failed', no caption).
        extra: captions of images without a reference.
        outside_split: captions of images outside the chosen split; never scored.
        duplicates: captions after the first of an image.
        empty_captions: scored captions without a word.
        empty_references: references without a word; they are scored as such, as coco-caption does.
        non_latin: scored captions with letters of another script, which are tokenized by spaces alone.
    """

    with_references: int = 0
    scored: int = 0
    references: int = 0
    missing: Tally = field(default_factory=Tally)
    failed: Tally = field(default_factory=Tally)
    extra: Tally = field(default_factory=Tally)
    outside_split: Tally = field(default_factory=Tally)
    duplicates: Tally = field(default_factory=Tally)
    empty_captions: Tally = field(default_factory=Tally)
    empty_references: Tally = field(default_factory=Tally)
    non_latin: Tally = field(default_factory=Tally)

    def merge(self, other: Coverage) -> None:
        """Add the counts of another bucket."""
        for attribute in fields(self):
            mine, theirs = getattr(self, attribute.name), getattr(other, attribute.name)
            if isinstance(mine, Tally):
                mine.merge(theirs)
            else:
                setattr(self, attribute.name, mine + theirs)

    def check(self, policy: PairingPolicy, split: frozenset[str] | None = None) -> None:
        """Stop where the policy says so.

        Args:
            policy: what is allowed.
            split: the images that were to be scored.

        Raises:
            MetricError: something doesn't match, an image of the split has no reference, or nothing is left to score.
        """
        problems = list(self._problems(policy))
        if split is not None and self.with_references < len(split):
            lacking = len(split) - self.with_references
            problems.append(f"{lacking} of the {len(split)} images of the split have no reference")
        if problems:
            raise MetricError("; ".join(problems))
        if not self.scored:
            raise MetricError("no caption has a reference: are the images named alike? (--by-name compares file names)")

    def _problems(self, policy: PairingPolicy) -> Iterable[str]:
        if policy.duplicates is MismatchPolicy.ERROR and self.duplicates.count:
            yield _problem(self.duplicates, "more than one caption for an image", "--duplicates skip scores the first")
        if policy.extra is MismatchPolicy.ERROR and self.extra.count:
            yield _problem(self.extra, "captions without a reference", "--extra skip leaves them out")
        if policy.missing is MissingPolicy.ERROR and (self.missing.count or self.failed.count):
            both = Tally()
            both.merge(self.failed)
            both.merge(self.missing)
            advice = "--split FILE restricts the references, --missing empty scores them as empty captions, "
            yield _problem(both, "images without a caption", advice + "--missing skip leaves them out")

    def as_dict(self) -> dict[str, object]:
        """For a report: counts, with examples where something did not match."""
        report: dict[str, object] = {}
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            report[attribute.name] = value.count if isinstance(value, Tally) else value
            if isinstance(value, Tally) and value.count:
                report[f"{attribute.name}_examples"] = value.examples
        return report


def _problem(tally: Tally, what: str, advice: str) -> str:
    return f"{tally.count} {what} ({tally.examples[0]!r} among them): {advice}"


@dataclass(frozen=True, slots=True)
class PairedTexts:
    """Captions with their references, sorted by image id.

    Attributes:
        image_ids: names of the images.
        captions: one caption an image.
        references: at least one reference an image.
    """

    image_ids: list[str]
    captions: list[str]
    references: list[list[str]]


def pair_texts(
    captions: Iterable[tuple[str, str | None]],
    references: Iterable[tuple[str, str | None]],
    policy: PairingPolicy,
    split: frozenset[str] | None = None,
) -> tuple[PairedTexts, Coverage]:
    """Join (image id, text) pairs.

    Args:
        captions: a null text is an image that the captioner failed on.
        references: several a image, in the order that they are reported in.
        policy: what becomes of images without a caption; mismatches are counted here, and judged by `Coverage.check`.
        split: images to score; None for all that have references.
    """
    coverage = Coverage()
    by_image = _group_references(references, split)
    chosen = _choose_captions(captions, by_image, split, coverage)
    pairs: list[tuple[str, str, list[str]]] = []
    for image_id in sorted(by_image):
        caption = chosen.get(image_id)
        if caption is None:
            (coverage.failed if image_id in chosen else coverage.missing).add(image_id)
            if policy.missing is not MissingPolicy.EMPTY:
                continue
        pairs.append((image_id, caption or "", by_image[image_id]))
    coverage.with_references = len(by_image)
    coverage.scored = len(pairs)
    coverage.references = sum(len(sentences) for _, _, sentences in pairs)
    return PairedTexts(*map(list, zip(*pairs, strict=True))) if pairs else PairedTexts([], [], []), coverage


def _group_references(
    references: Iterable[tuple[str, str | None]], split: frozenset[str] | None
) -> dict[str, list[str]]:
    by_image: dict[str, list[str]] = {}
    for image_id, text in references:
        if text is not None and (split is None or image_id in split):
            by_image.setdefault(image_id, []).append(text)
    return by_image


def _choose_captions(
    captions: Iterable[tuple[str, str | None]],
    references: Mapping[str, list[str]],
    split: frozenset[str] | None,
    coverage: Coverage,
) -> dict[str, str | None]:
    chosen: dict[str, str | None] = {}
    for image_id, text in captions:
        if split is not None and image_id not in split:
            coverage.outside_split.add(image_id)
        elif image_id in chosen:
            coverage.duplicates.add(image_id)
        elif image_id not in references:
            coverage.extra.add(image_id)
        else:
            chosen[image_id] = text
    return chosen

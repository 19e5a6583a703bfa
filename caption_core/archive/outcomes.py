"""How each image of a shard ended, and the rows and counts that come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from caption_core.errors import ImageError
from caption_core.records import OUTPUT_SCHEMA, Caption, ImageRef, RowStatus


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        ref: the image.
        result: its caption, or why there is none.
        width: in pixels as displayed; None where the image wasn't decoded.
        height: in pixels as displayed; None where the image wasn't decoded.
    """

    ref: ImageRef
    result: Caption | ImageError
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class OutcomeCounts:
    """How many images were captioned, and how many failed of what."""

    ok: int = 0
    failed_by_kind: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Images without a caption."""
        return sum(self.failed_by_kind.values())

    @property
    def total(self) -> int:
        """All images."""
        return self.ok + self.failed

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        """Counts of both together."""
        kinds = Counter(self.failed_by_kind) + Counter(other.failed_by_kind)
        return OutcomeCounts(self.ok + other.ok, dict(sorted(kinds.items())))


def count_outcomes(outcomes: Iterable[ImageOutcome]) -> OutcomeCounts:
    """Count a shard's outcomes."""
    results = [outcome.result for outcome in outcomes]
    kinds = Counter(result.kind.value for result in results if isinstance(result, ImageError))
    return OutcomeCounts(len(results) - kinds.total(), dict(sorted(kinds.items())))


def outcomes_to_table(outcomes: Sequence[ImageOutcome], model_id: str, shard_id: int) -> pa.Table:
    """One row an image, in the given order, in `OUTPUT_SCHEMA`."""
    rows = [_row(outcome, model_id, shard_id) for outcome in outcomes]
    return pa.Table.from_pylist(rows, schema=OUTPUT_SCHEMA)


def _row(outcome: ImageOutcome, model_id: str, shard_id: int) -> dict[str, object]:
    row: dict[str, object] = {
        "image_id": outcome.ref.image_id,
        "uri": outcome.ref.uri,
        "width": outcome.width,
        "height": outcome.height,
        "model_id": model_id,
        "shard_id": shard_id,
    }
    return row | _result_columns(outcome.result)


def _result_columns(result: Caption | ImageError) -> dict[str, object]:
    if isinstance(result, ImageError):
        message = str(result).encode("utf-8", errors="backslashreplace").decode("utf-8")
        return {"status": RowStatus.FAILED.value, "error_kind": result.kind.value, "error_message": message}
    return {
        "status": RowStatus.OK.value,
        "caption": result.text,
        "score": result.score,
        "num_tokens": result.num_tokens,
    }

"""How each image of a shard ended, and the rows and counts that come of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from caption_core.errors import ImageError, UsageError
from caption_core.records import OUTPUT_SCHEMA, Caption, ErrorKind, ImageRef, RowStatus
from caption_core.search import SearchSettings


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        ref: the image.
        result: its caption, or why there is none.
        width: in pixels as displayed; None where the image wasn't decoded.
        height: in pixels as displayed; None where the image wasn't decoded.
        sha256: of its bytes, in hexadecimal; None where they weren't read.
        decode_ms: time to decode and resize; None where that failed.
        infer_ms: its share of its batch's encoding and search; None where it wasn't captioned.
        carried: what its source carries along for it.
    """

    ref: ImageRef
    result: Caption | ImageError
    width: int | None = None
    height: int | None = None
    sha256: str | None = None
    decode_ms: float | None = None
    infer_ms: float | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)


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

    def kinds(self) -> str:
        """The failures by kind, for people: '2 corrupt, 1 empty'."""
        return ", ".join(f"{number:,} {kind}" for kind, number in self.failed_by_kind.items())

    def __add__(self, other: OutcomeCounts) -> OutcomeCounts:
        """Counts of both together."""
        kinds = Counter(self.failed_by_kind) + Counter(other.failed_by_kind)
        return OutcomeCounts(self.ok + other.ok, dict(sorted(kinds.items())))


def sum_counts(counts: Iterable[OutcomeCounts]) -> OutcomeCounts:
    """Counts of all together."""
    ok, kinds = 0, Counter[str]()
    for one in counts:
        ok += one.ok
        kinds.update(one.failed_by_kind)
    return OutcomeCounts(ok, dict(sorted(kinds.items())))


def count_outcomes(outcomes: Iterable[ImageOutcome]) -> OutcomeCounts:
    """Count a shard's outcomes."""
    results = [outcome.result for outcome in outcomes]
    kinds = Counter(result.kind.value for result in results if isinstance(result, ImageError))
    return OutcomeCounts(len(results) - kinds.total(), dict(sorted(kinds.items())))


def count_rows(rows: pa.Table) -> OutcomeCounts:
    """Count a part's rows."""
    kinds = Counter(kind for kind in rows.column("error_kind").to_pylist() if kind is not None)
    return OutcomeCounts(rows.num_rows - kinds.total(), dict(sorted(kinds.items())))


def output_schema(carried: pa.Schema) -> pa.Schema:
    """The columns of every row, and after them those that an input carries along.

    Raises:
        UsageError: two columns would have the same name.
    """
    fields = [*OUTPUT_SCHEMA, *(item.with_nullable(True) for item in carried)]
    repeated = [name for name, number in Counter(item.name for item in fields).items() if number > 1]
    if repeated:
        raise UsageError(f"the output would have two columns {repeated[0]!r}; carry it under another name")
    return pa.schema(fields)


def outcomes_to_table(
    outcomes: Sequence[ImageOutcome],
    model_id: str,
    shard_id: int,
    search: SearchSettings,
    schema: pa.Schema = OUTPUT_SCHEMA,
) -> pa.Table:
    """One row an image, in the given order.

    Args:
        outcomes: of a shard's images.
        model_id: name and digest of the captioner.
        shard_id: of the shard.
        search: the settings that the captions were searched with.
        schema: of `output_schema`.
    """
    common = {
        "model_id": model_id,
        "beam_width": search.beam_width,
        "max_tokens": search.max_tokens,
        "length_penalty": search.length_penalty,
        "shard_id": shard_id,
        "created_at": datetime.now(timezone.utc),
    }
    return pa.Table.from_pylist([common | _row(outcome) for outcome in outcomes], schema=schema)


def failed_positions(rows: pa.Table, kinds: Iterable[ErrorKind] | None = None) -> list[int]:
    """Which rows of a part have no caption.

    Args:
        rows: of a part.
        kinds: only those that failed of this; all by default.
    """
    wanted = {kind.value for kind in kinds or ErrorKind}
    return [index for index, kind in enumerate(rows.column("error_kind").to_pylist()) if kind in wanted]


def replace_rows(rows: pa.Table, positions: Sequence[int], by: pa.Table) -> pa.Table:
    """The same rows, in the same order, with others in some places.

    Of carried columns, values stay where the others have none: what a try read, a later one may not get to.

    Args:
        rows: of a part.
        positions: ascending, of the rows to replace.
        by: one row a position; its schema is the result's.
    """
    columns = [
        _replaced(rows.column(field.name), positions, by.column(field.name), fill=field.name not in OUTPUT_SCHEMA.names)
        for field in by.schema
    ]
    return pa.Table.from_arrays(columns, schema=by.schema)


def _replaced(column: pa.ChunkedArray, positions: Sequence[int], by: pa.ChunkedArray, *, fill: bool) -> pa.ChunkedArray:
    """See `replace_rows`; of slices, since PyArrow can't take from columns of every type."""
    column = column if column.type == by.type else column.cast(by.type)
    slices, end = [], 0
    for index, position in enumerate(positions):
        keeps = fill and not by[index].is_valid
        slices += [column.slice(end, position - end), column.slice(position, 1) if keeps else by.slice(index, 1)]
        end = position + 1
    slices.append(column.slice(end))
    return pa.chunked_array([chunk for part in slices for chunk in part.chunks], by.type)


def _row(outcome: ImageOutcome) -> dict[str, object]:
    row: dict[str, object] = {
        "image_id": outcome.ref.image_id,
        "uri": outcome.ref.uri,
        "width": outcome.width,
        "height": outcome.height,
        "content_sha256": outcome.sha256,
        "decode_ms": outcome.decode_ms,
        "infer_ms": outcome.infer_ms,
        **outcome.carried,
    }
    return row | _result_columns(outcome.result)


def _result_columns(result: Caption | ImageError) -> dict[str, object]:
    if isinstance(result, ImageError):
        message = str(result).encode("utf-8", errors="backslashreplace").decode("utf-8")
        return {"status": RowStatus.FAILED.value, "error_kind": result.kind.value, "error_message": message}
    candidates = [{"caption": text, "score": score} for text, score in result.candidates]
    return {
        "status": RowStatus.OK.value,
        "caption": result.text,
        "score": result.score,
        "num_tokens": result.num_tokens,
        "candidates": candidates or None,
    }

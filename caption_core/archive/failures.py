"""The images of a run that have no caption, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow.compute as pc

from caption_core.archive.outcomes import OutcomeCounts, sum_counts
from caption_core.archive.parts import read_rows
from caption_core.archive.preview import printable
from caption_core.archive.storage import Storage

FAILURE_COLUMNS = ("image_id", "uri", "error_kind", "error_message", "shard_id")


def iter_failures(
    output: Storage, parts: Mapping[int, OutcomeCounts], kinds: Sequence[str] | None = None
) -> Iterator[dict[str, object]]:
    """Rows without a caption, by kind and then in order; only parts that hold such rows are read, one at a time.

    Args:
        output: of a run.
        parts: its parts, and how their images ended.
        kinds: of failures, in the order they are wanted; all by default.

    Raises:
        PartError: a part is damaged.
    """
    for kind in kinds or sum_counts(parts.values()).failed_by_kind:
        for shard_id, counts in parts.items():
            if counts.failed_by_kind.get(kind):
                rows = read_rows(output, shard_id, list(FAILURE_COLUMNS))
                yield from rows.filter(pc.field("error_kind") == kind).to_pylist()


def failures_as_json(failures: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """A JSON object a line."""
    return (json.dumps(failure, ensure_ascii=False) for failure in failures)


def failures_as_table(failures: Iterable[Mapping[str, object]], counts: OutcomeCounts) -> Iterator[str]:
    """Lines for people: under each kind its images, each with the cause."""
    last = None
    for failure in failures:
        kind = str(failure["error_kind"])
        if kind != last:
            yield f"{kind} ({counts.failed_by_kind[kind]:,})"
            last = kind
        yield f"  {printable(str(failure['image_id']))}: {printable(str(failure['error_message']))}"
    yield f"{counts.failed:,} of {counts.total:,} images failed"

"""One shard as one Parquet part, written whole or not at all.

A part that lies under its final name with a run's fingerprint in its footer *is* the commit of its shard. Nothing else
records that a shard is done, so nothing can disagree with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.archive.storage import Storage
from caption_core.errors import CapstanError

_PART_NAME = re.compile(r"part-(\d{5,})\.parquet")

_FINGERPRINT_KEY = b"capstan.fingerprint"
_SETTINGS_KEY = b"capstan.settings"
_COUNTS_KEY = b"capstan.counts"


class PartError(CapstanError):
    """A file under a part's name that no run wrote, or that is damaged."""


@dataclass(frozen=True, slots=True)
class PartFooter:
    """What a part says of itself.

    Attributes:
        fingerprint: of the run that wrote it.
        settings: what the fingerprint was made of, by name.
        counts: how its images ended.
    """

    fingerprint: str
    settings: Mapping[str, Any]
    counts: OutcomeCounts


def part_name(shard_id: int) -> str:
    """File name of a shard's part: part-00017.parquet."""
    return f"part-{shard_id:05d}.parquet"


def shard_id_of(name: str) -> int | None:
    """The shard that a file name stands for; None where it is no part's name."""
    match = _PART_NAME.fullmatch(name)
    shard_id = int(match[1]) if match else None
    return shard_id if shard_id is not None and part_name(shard_id) == name else None


def list_parts(output: Storage) -> dict[int, str]:
    """The names of the parts in a folder, by shard, in order."""
    found = {shard_id: name for name in output.names() if (shard_id := shard_id_of(name)) is not None}
    return dict(sorted(found.items()))


def write_part(output: Storage, shard_id: int, rows: pa.Table, footer: PartFooter) -> None:
    """Write a shard's part, whole or not at all.

    Writing a part again replaces it: a shard that was tried twice is there once.

    Raises:
        OSError: the file system refuses (no space, no permission); nothing is left behind.
    """
    metadata = {**(rows.schema.metadata or {}), **_footer_metadata(footer)}
    # In memory first: an object store's upload that is broken off half-way must not become an object.
    buffer = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata(metadata), buffer, compression="zstd")
    output.write(part_name(shard_id), buffer.getvalue())


def read_footer(output: Storage, name: str) -> PartFooter:
    """Read a part's footer, and nothing else of it.

    Raises:
        PartError: the file is no part of a run, or damaged.
    """
    where = f"{output}/{name}"
    try:
        with output.open_input(name) as file:
            metadata = pq.read_metadata(file)
        texts = metadata.metadata or {}
        counts = OutcomeCounts(**json.loads(texts[_COUNTS_KEY]))
        footer = PartFooter(texts[_FINGERPRINT_KEY].decode(), json.loads(texts[_SETTINGS_KEY]), counts)
    except KeyError as error:
        raise PartError(f"{where}: this Parquet file was not written by a captioning run") from error
    except (pa.ArrowInvalid, ValueError, TypeError) as error:
        raise PartError(f"{where}: damaged; delete it to have its images captioned again") from error
    if metadata.num_rows != counts.total:
        raise PartError(f"{where}: {metadata.num_rows:,} rows, but its footer counts {counts.total:,} images")
    return footer


def read_rows(output: Storage, shard_id: int, columns: list[str] | None = None) -> pa.Table:
    """A part's rows, or some of their columns.

    Raises:
        PartError: the part is damaged.
        OSError: it can't be read.
    """
    name = part_name(shard_id)
    try:
        with output.open_input(name) as file:
            return pq.read_table(file, columns=columns)
    except pa.ArrowInvalid as error:
        raise PartError(f"{output}/{name}: damaged; delete it to have its images captioned again") from error


def _footer_metadata(footer: PartFooter) -> dict[bytes, bytes]:
    counts = {"ok": footer.counts.ok, "failed_by_kind": dict(footer.counts.failed_by_kind)}
    return {
        _FINGERPRINT_KEY: footer.fingerprint.encode(),
        _SETTINGS_KEY: json.dumps(dict(footer.settings), sort_keys=True).encode(),
        _COUNTS_KEY: json.dumps(counts, sort_keys=True).encode(),
    }

"""One shard as one Parquet part, written whole or not at all.

A part that lies under its final name with a run's fingerprint in its footer *is* the commit of its shard. Nothing else
records that a shard is done, so nothing can disagree with it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.archive.outcomes import OutcomeCounts
from caption_core.errors import CapstanError

_PART_NAME = re.compile(r"part-(\d{5,})\.parquet")
# Readers of Parquet folders (Spark, PyArrow, pandas, DuckDB's *.parquet, Ray) pass over such a name.
_TEMPORARY_NAME = re.compile(r"_part-\d{5,}\.parquet\.[0-9a-f]{16}\.tmp")

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


def list_parts(folder: Path) -> dict[int, Path]:
    """The parts in a folder, by shard."""
    found = ((shard_id_of(path.name), path) for path in folder.iterdir())
    return {shard_id: path for shard_id, path in sorted(found, key=str) if shard_id is not None}


def write_part(folder: Path, shard_id: int, rows: pa.Table, footer: PartFooter) -> Path:
    """Write a shard's part: under a temporary name, then moved into place.

    Writing a part again replaces it by one with the same content: a shard that was tried twice is there once.

    Raises:
        OSError: the file system refuses (no space, no permission); nothing is left behind.
    """
    final = folder / part_name(shard_id)
    temporary = folder / f"_{final.name}.{secrets.token_hex(8)}.tmp"
    metadata = {**(rows.schema.metadata or {}), **_footer_metadata(footer)}
    try:
        with temporary.open("xb") as file:
            pq.write_table(rows.replace_schema_metadata(metadata), file, compression="zstd")
            file.flush()
            # Before the move: a power cut may not leave the final name on a file without content.
            os.fsync(file.fileno())
        temporary.replace(final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return final


def read_footer(path: Path) -> PartFooter:
    """Read a part's footer, and nothing else of it.

    Raises:
        PartError: the file is no part of a run, or damaged.
    """
    try:
        metadata = pq.read_metadata(path)
        texts = metadata.metadata or {}
        counts = OutcomeCounts(**json.loads(texts[_COUNTS_KEY]))
        footer = PartFooter(texts[_FINGERPRINT_KEY].decode(), json.loads(texts[_SETTINGS_KEY]), counts)
    except KeyError as error:
        raise PartError(f"{path}: this Parquet file was not written by a captioning run") from error
    except (pa.ArrowInvalid, ValueError, TypeError) as error:
        raise PartError(f"{path}: damaged; delete it to have its images captioned again") from error
    if metadata.num_rows != counts.total:
        raise PartError(f"{path}: {metadata.num_rows:,} rows, but its footer counts {counts.total:,} images")
    return footer


def remove_temporaries(folder: Path) -> int:
    """Delete what a killed run left half-written; returns the number of files."""
    leftovers = [path for path in folder.iterdir() if _TEMPORARY_NAME.fullmatch(path.name)]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def _footer_metadata(footer: PartFooter) -> dict[bytes, bytes]:
    counts = {"ok": footer.counts.ok, "failed_by_kind": dict(footer.counts.failed_by_kind)}
    return {
        _FINGERPRINT_KEY: footer.fingerprint.encode(),
        _SETTINGS_KEY: json.dumps(dict(footer.settings), sort_keys=True).encode(),
        _COUNTS_KEY: json.dumps(counts, sort_keys=True).encode(),
    }


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

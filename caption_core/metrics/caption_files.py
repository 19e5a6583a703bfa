"""Reading the captions that are to be scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from caption_core.errors import UsageError
from caption_core.metrics.json_files import load_json, take, take_id
from caption_core.metrics.parquet_files import as_text, open_dataset, pick_column, read_batches
from caption_core.metrics.text_batches import TEXT_SCHEMA, batch_texts
from caption_core.records import RowStatus


class CaptionFile:
    """Captions of a run: the Parquet that the captioning job wrote, or a JSON in COCO results form.

    COCO results are a list of `{"image_id": ..., "caption": ...}`. Parquet has columns `image_id` and `caption`, and
    may have `status`, whose rows other than 'ok' are images without a caption.

    Args:
        path: a `.json` file, a Parquet file, or a folder or URI of Parquet parts.

    Raises:
        UsageError: there is nothing there, or it has neither form.
    """

    def __init__(self, path: str) -> None:
        """Open the file; JSON is read at once."""
        self.path = path
        self._results = _load_results(Path(path)) if path.endswith(".json") else None
        self._dataset = None if self._results is not None else open_dataset(path)

    def num_rows(self) -> int:
        """Captions in the file, failed images included."""
        if self._results is not None:
            return len(self._results)
        assert self._dataset is not None
        return int(self._dataset.count_rows())

    def has_numeric_ids(self) -> bool:
        """Whether images are named by numbers, as in COCO results, rather than by file names."""
        first = next((batch for batch in self.batches() if batch.num_rows), None)
        return first is not None and all(name.isdecimal() for name in first.column("image_id").to_pylist())

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Stream batches of `TEXT_SCHEMA`, in the file's order."""
        if self._results is not None:
            yield from batch_texts(self._results)
            return
        assert self._dataset is not None
        yield from _parquet_captions(self._dataset, self.path)


def _load_results(path: Path) -> list[tuple[str, str]]:
    records = load_json(path)
    if not isinstance(records, list):
        raise UsageError(f'{path}: not COCO results: a list of {{"image_id": ..., "caption": ...}}')
    return [_result(record, path, f"record {number}") for number, record in enumerate(records)]


def _result(record: object, path: Path, place: str) -> tuple[str, str]:
    return take_id(record, "image_id", path, place), take(record, "caption", str, path, place)


def _parquet_captions(dataset: ds.Dataset, path: str) -> Iterator[pa.RecordBatch]:
    columns = [pick_column(dataset, path, what, [what]) for what in ("image_id", "caption")]
    has_status = "status" in dataset.schema.names
    for batch in read_batches(dataset, path, columns + ["status"] * has_status):
        ids, texts = as_text(batch.column("image_id")), as_text(batch.column("caption"))
        if ids.null_count:
            raise UsageError(f"{path}: {ids.null_count} rows have no image_id")
        if has_status:
            captioned = pc.equal(batch.column("status"), RowStatus.OK.value)
            texts = pc.if_else(captioned, texts, pa.scalar(None, pa.string()))
        yield pa.record_batch([ids, texts], schema=TEXT_SCHEMA)

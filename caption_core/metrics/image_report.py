"""The per-image Parquet of an evaluation: every caption with its references and scores, to find the worst by."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.metrics.blocks import Float64
from caption_core.metrics.pairing import PairedTexts

NAME = "images.parquet"


def image_schema(metrics: list[str]) -> pa.schema:
    """Columns of the per-image file; `metrics` are the names of the scores in it."""
    described = [
        ("image_id", pa.string(), "Name of the image."),
        ("caption", pa.string(), "The caption that was scored; empty for an image without one that was scored so."),
        ("references", pa.list_(pa.string()), "The references that it was scored against."),
        ("num_tokens", pa.int32(), "Words in the caption, after tokenization."),
        *((metric, pa.float64(), f"{metric} of this caption alone.") for metric in metrics),
    ]
    return pa.schema([pa.field(name, kind, metadata={"description": text}) for name, kind, text in described])


class ImageReport:
    """Writes rows under a temporary name; the file appears under its own, whole, when all rows are in it.

    Used as a context; leaving it by an error leaves nothing behind, and whatever was there before untouched.

    Args:
        folder: where the file goes.
        metrics: names of the scores.
    """

    def __init__(self, folder: Path, metrics: list[str]) -> None:
        """Open the temporary file."""
        self._final = folder / NAME
        self._temporary = folder / f"_{NAME}.{secrets.token_hex(8)}.tmp"
        self._schema = image_schema(metrics)
        self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")

    def add(self, texts: PairedTexts, num_tokens: Float64, scores: Mapping[str, Float64]) -> None:
        """Write further images as a row group; `scores` float64 [images] a metric."""
        columns = [texts.image_ids, texts.captions, texts.references, num_tokens.astype("int32"), *scores.values()]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def __enter__(self) -> ImageReport:
        """The report itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Move the file into place, or remove it after an error."""
        try:
            self._writer.close()
            if kind is None:
                os.replace(self._temporary, self._final)
        finally:
            self._temporary.unlink(missing_ok=True)

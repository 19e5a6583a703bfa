"""What travels through the system: references to images, captions, and the rows that a run writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa


class ErrorKind(str, Enum):
    """Why an image has no caption."""

    NOT_FOUND = "not_found"  # listed in the plan, gone when it was read
    UNREADABLE = "unreadable"  # permission denied, I/O error, not a regular file
    EMPTY = "empty"  # zero bytes
    TOO_MANY_BYTES = "too_many_bytes"  # larger than the byte cap; not read
    NOT_AN_IMAGE = "not_an_image"  # no known image header
    TOO_MANY_PIXELS = "too_many_pixels"  # larger than the pixel cap; not decoded
    CORRUPT = "corrupt"  # a known header, then data that does not decode
    INFERENCE_FAILED = "inference_failed"  # the captioner raised on this image


class RowStatus(str, Enum):
    """How an input ended: every input ends as exactly one row."""

    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One input image of an archive.

    Attributes:
        image_id: the name that joins a caption with its image, unique in a run
            (for a folder: the path below it, with forward slashes).
        uri: where the bytes are.
        num_bytes: size as listed, in bytes; -1 where the listing does not tell.
    """

    image_id: str
    uri: str
    num_bytes: int = -1


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as the search returned it.

    Attributes:
        text: words joined by single spaces; never holds padding, start, end or unknown tokens.
        score: length-normalized log probability (nats a token), the search's ranking key.
        num_tokens: words in `text`; the end token is not counted.
    """

    text: str
    score: float
    num_tokens: int


def _column(name: str, kind: pa.DataType, sentence: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": sentence})


OUTPUT_SCHEMA = pa.schema(
    [
        _column("image_id", pa.string(), "Name of the image, unique in a run: its path below the input folder."),
        _column("uri", pa.string(), "Where the image's bytes were read."),
        _column("caption", pa.string(), "The caption; null where status is 'failed'.", nullable=True),
        _column("score", pa.float32(), "Length-normalized log probability of the caption, in nats.", nullable=True),
        _column("num_tokens", pa.int32(), "Words in the caption.", nullable=True),
        _column("width", pa.int32(), "Width of the image in pixels, as displayed.", nullable=True),
        _column("height", pa.int32(), "Height of the image in pixels, as displayed.", nullable=True),
        _column("status", pa.string(), "'ok' or 'failed'."),
        _column("error_kind", pa.string(), "Why there is no caption; null where status is 'ok'.", nullable=True),
        _column("error_message", pa.string(), "The cause in words; null where status is 'ok'.", nullable=True),
        _column("model_id", pa.string(), "Name and digest of the bundle that made the caption."),
        _column("shard_id", pa.int32(), "The shard, and so the part file, that holds the row."),
    ]
)
"""The one schema of a run's Parquet parts; each field's metadata holds a sentence about it."""

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
    BAD_REFERENCE = "bad_reference"  # a line of a manifest, or a row, that names no image
    REFUSED = "refused"  # where it is may not be read: outside its folder, a private address, too many redirects
    DOWNLOAD_FAILED = "download_failed"  # a server or object store didn't give it, after retries
    TIMED_OUT = "timed_out"  # reading and decoding took longer than allowed
    CRASHED = "crashed"  # its worker died of it, again and again


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
        uri: where the bytes are, for people and for joins.
        num_bytes: size as listed, in bytes; -1 where the listing does not tell.
        locator: what the source that listed it needs beyond the rest to read it again (an offset, a row, a line);
            independent of where the archive is mounted. Empty where nothing is needed.
        source: which of a run's inputs listed it, from 0.
    """

    image_id: str
    uri: str
    num_bytes: int = -1
    locator: str = ""
    source: int = 0


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption as the search returned it.

    Attributes:
        text: words joined by single spaces; never holds padding, start, end or unknown tokens.
        score: length-normalized log probability (nats a token), the search's ranking key.
        num_tokens: words in `text`; the end token is not counted.
        candidates: the search's best captions with their scores, best first, this one included; empty unless asked
            for.
    """

    text: str
    score: float
    num_tokens: int
    candidates: tuple[tuple[str, float], ...] = ()


def _column(name: str, kind: pa.DataType, sentence: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": sentence})


_CANDIDATES = pa.list_(pa.struct([pa.field("caption", pa.string()), pa.field("score", pa.float32())]))

OUTPUT_SCHEMA = pa.schema(
    [
        _column("image_id", pa.string(), "Name of the image, unique in a run: its path below the input, mostly."),
        _column("uri", pa.string(), "Where the image's bytes were read."),
        _column("caption", pa.string(), "The caption; null where status is 'failed'.", nullable=True),
        _column("score", pa.float32(), "Length-normalized log probability of the caption, in nats.", nullable=True),
        _column("num_tokens", pa.int32(), "Words in the caption.", nullable=True),
        _column("candidates", _CANDIDATES, "The best captions and their scores, where asked for.", nullable=True),
        _column("width", pa.int32(), "Width of the image in pixels, as displayed.", nullable=True),
        _column("height", pa.int32(), "Height of the image in pixels, as displayed.", nullable=True),
        _column("status", pa.string(), "'ok' or 'failed'."),
        _column("error_kind", pa.string(), "Why there is no caption; null where status is 'ok'.", nullable=True),
        _column("error_message", pa.string(), "The cause in words; null where status is 'ok'.", nullable=True),
        _column("content_sha256", pa.string(), "SHA-256 of the image's bytes, where they were read.", nullable=True),
        _column("decode_ms", pa.float32(), "Time to decode and resize the image, in milliseconds.", nullable=True),
        _column("infer_ms", pa.float32(), "Its share of its batch's encoding and search, in ms.", nullable=True),
        _column("created_at", pa.timestamp("ms", tz="UTC"), "When the row was made."),
        _column("model_id", pa.string(), "Name and digest of the bundle that made the caption."),
        _column("beam_width", pa.int32(), "Hypotheses kept an image by the search; 1 is greedy search."),
        _column("max_tokens", pa.int32(), "Longest caption in words that the search allowed."),
        _column("length_penalty", pa.float64(), "Exponent of the caption's length in its score."),
        _column("shard_id", pa.int32(), "The shard, and so the part file, that holds the row."),
    ]
)
"""The columns of a run's Parquet parts; each field's metadata holds a sentence about it. What an input carries along
(siblings of a tar's members, chosen columns of a Parquet file) follows in columns of its own."""

VOLATILE_COLUMNS = ("created_at", "decode_ms", "infer_ms")
"""Columns in which two runs with equal settings over equal archives differ."""

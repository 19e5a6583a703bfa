"""What a captioning run needs from an archive, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from caption_core.errors import ImageError
from caption_core.records import ImageRef


@dataclass(frozen=True, slots=True)
class SourceImage:
    """What a source gives for one reference.

    Attributes:
        data: the encoded image, or why there is none.
        carried: values of the source's carried columns; what is missing is null.
    """

    data: bytes | ImageError
    carried: Mapping[str, Any] = field(default_factory=dict)


def no_beat() -> None:
    """For who doesn't want to know that work goes on."""


class ImageReader(Protocol):
    """Reads a source's images on one machine; lives as long as its worker.

    `begin` is called from one thread, `read` from several.
    """

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """Announce the images of the next shard: they will be read about in this order, each once, or not at all.

        Args:
            refs: as the source listed them.
            beat: called again and again while the way to the first of them is long (gigabytes to decompress, say).

        Raises:
            CapstanError, OSError: the archive can't be opened. Images may be announced again, or read all the same.
        """
        ...

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """Read one image and what is carried along with it; never raises for what is wrong with the image.

        Args:
            ref: as the source listed it.
            max_bytes: a larger image is not read, and is TOO_MANY_BYTES.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


class ImageSource(Protocol):
    """An archive of images: lists what it holds, once, and opens readers, on any machine.

    A source is a small picklable value: the driver lists it, workers read through copies of it.
    """

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """Every image exactly once, as batches in `refs.REF_SCHEMA`, in an order that is the same each time.

        What is listed but can't be an image (a line that names none) is listed too, and read as an error. A stream:
        memory doesn't grow with the archive.

        Raises:
            UsageError: the archive can't be listed.
        """
        ...

    def carried(self) -> pa.Schema:
        """The columns that its images bring along for the output, all of them nullable."""
        ...

    def open_reader(self) -> ImageReader:
        """A reader for this machine.

        Raises:
            CapstanError: this machine can't read the archive at all; without this check each image would end as a
                failed row.
        """
        ...

    def version(self) -> str:
        """What else than its references decides on its images, so that a run isn't resumed on others; may be empty."""
        ...

    def locations(self) -> Sequence[str]:
        """The folders, files or prefixes (paths, or URIs) that it reads from: a run's output may not lie among them."""
        ...


@runtime_checkable
class CarryingRefs(Protocol):
    """What a source answers beside the rest where its references themselves hold values that are carried along."""

    def carried_in(self, ref: ImageRef) -> Mapping[str, Any]:
        """Those values; nothing is read."""
        ...


def carried_in(source: ImageSource, ref: ImageRef) -> Mapping[str, Any]:
    """What is known of an image's carried columns without reading it."""
    return source.carried_in(ref) if isinstance(source, CarryingRefs) else {}

"""A few images as an archive of many: the same ones over and over, under new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa

from caption_core.archive.refs import batch_to_refs, batches_of
from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.errors import UsageError
from caption_core.records import ImageRef

_MAX_BYTES = 1 << 28  # a file; and all of them together, which travel to each actor


@dataclass(frozen=True, slots=True)
class RepeatedImages:
    """A source (see `ImageSource`).

    Attributes:
        folder: whose images are repeated.
        refs: of these images, in order.
        num_images: listed altogether.
        contents: the images' bytes by address, held in memory; None to read them from their files.
    """

    folder: FolderSource
    refs: tuple[ImageRef, ...]
    num_images: int
    contents: Mapping[str, bytes] | None = None

    @classmethod
    def of(cls, images: Path, num_images: int, *, in_memory: bool) -> RepeatedImages:
        """The images of a folder.

        Raises:
            UsageError: there is none, or they are too large to be held in memory.
        """
        folder = FolderSource.at(images)
        refs = tuple(ref for batch in folder.list_refs() for ref in batch_to_refs(batch))
        if not refs:
            raise UsageError(f"{images}: no images here")
        if not in_memory:
            return cls(folder, refs, num_images)
        if sum(ref.num_bytes for ref in refs) > _MAX_BYTES:
            raise UsageError(f"{images}: more than {_MAX_BYTES:,} bytes, too many to be held in memory")
        return cls(folder, refs, num_images, {ref.uri: _read(folder, ref) for ref in refs})

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`."""
        repeated = enumerate(islice(cycle(self.refs), self.num_images))
        return batches_of(replace(ref, image_id=f"{number:08d}-{ref.image_id}") for number, ref in repeated)

    def carried(self) -> pa.Schema:
        """See `ImageSource`: nothing."""
        return pa.schema([])

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        return self.folder.open_reader() if self.contents is None else _MemoryReader(self.contents)

    def version(self) -> str:
        """See `ImageSource`: nothing."""
        return ""

    def locations(self) -> Sequence[str]:
        """See `ImageSource`."""
        return self.folder.locations()


class _MemoryReader:
    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def begin(self, refs: Sequence[ImageRef], *, beat: object = no_beat) -> None:
        """See `ImageReader`; nothing to prepare."""

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:  # noqa: ARG002
        """See `ImageReader`."""
        return SourceImage(self._contents[ref.uri])

    def close(self) -> None:
        """See `ImageReader`; nothing is open."""


def _read(folder: FolderSource, ref: ImageRef) -> bytes:
    data = folder.open_reader().read(ref, _MAX_BYTES).data
    if not isinstance(data, bytes):
        raise UsageError(f"{ref.image_id}: {data}")
    return data

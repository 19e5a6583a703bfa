"""A folder of images that hang, or end the process that reads them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from caption_core.archive.sources.folder import FolderSource
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.records import ImageRef


@dataclass(frozen=True, kw_only=True)
class StrangeSource(FolderSource):
    """Notes which processes read.

    Attributes:
        notes: folder that gets a file named by each process that reads.
        deadly: image ids that end any process but `spared_pid`.
        hanging: image ids that take a minute.
        spared_pid: a process, or None.
    """

    notes: Path
    deadly: frozenset[str] = frozenset()
    hanging: frozenset[str] = frozenset()
    spared_pid: int | None = None

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        return _StrangeReader(super().open_reader(), self)


@dataclass(frozen=True, slots=True)
class _StrangeReader:
    reader: ImageReader
    source: StrangeSource

    def close(self) -> None:
        self.reader.close()

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        self.reader.begin(refs, beat=beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        (self.source.notes / str(os.getpid())).touch()
        if ref.image_id in self.source.hanging:
            time.sleep(60)
        if ref.image_id in self.source.deadly and os.getpid() != self.source.spared_pid:
            os._exit(66)
        return self.reader.read(ref, max_bytes)

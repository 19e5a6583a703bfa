"""What a captioning run needs from an archive, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from caption_core.records import ImageRef


class ImageSource(Protocol):
    """An archive of images: lists what it holds, once, and reads one image at a time, on any machine.

    A source is a small picklable value: the driver lists it, workers read from copies of it, in several threads.
    """

    def list_refs(self) -> Iterator[ImageRef]:
        """Every image exactly once, in an order that is the same each time.

        Raises:
            UsageError: the archive can't be listed.
        """
        ...

    def read(self, ref: ImageRef, max_bytes: int) -> bytes:
        """The encoded image.

        Raises:
            ImageError: NOT_FOUND, UNREADABLE, EMPTY or TOO_MANY_BYTES.
        """
        ...

    def check_visible(self) -> None:
        """See to it that this machine can read the archive at all.

        Raises:
            CapstanError: it can't; without this check each image would end as a failed row.
        """
        ...

"""Reads and decodes a shard's images ahead of the captioner, whatever the images do."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from caption_core.archive.sources.source import ImageReader
from caption_core.engine.lookahead import Lookahead
from caption_core.engine.work import CaptioningWork
from caption_core.errors import ImageError
from caption_core.images import DecodedImage, decode_image, describe
from caption_core.records import ErrorKind, ImageRef


@dataclass(frozen=True, slots=True)
class SameAs:
    """The image has the same bytes as another one of its shard.

    Attributes:
        position: of that one.
    """

    position: int


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image on its way to the captioner.

    Attributes:
        position: in its shard.
        result: the image, or why there is none, or which other one it equals.
        sha256: of its bytes, in hexadecimal; None where they weren't read.
        num_bytes: read.
        read_s: time to read and hash it.
        decode_s: time to decode and resize it.
        carried: what its source carries along.
    """

    position: int
    result: DecodedImage | ImageError | SameAs
    sha256: str | None = None
    num_bytes: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    carried: Mapping[str, Any] = field(default_factory=dict)


class ImageLoader:
    """Loads shard after shard.

    Args:
        work: the run's.
        image_size: (height, width) in pixels that the captioner takes.

    Raises:
        CapstanError: this machine can't read the archive.
    """

    def __init__(self, work: CaptioningWork, image_size: tuple[int, int]) -> None:
        self._work, self._image_size = work, image_size
        self._reader: ImageReader = work.source.open_reader()
        self._refs: Sequence[ImageRef] = ()
        self._first = _FirstOfEachContent()
        # One thread more than CPUs: it waits for files while the others decode.
        self._ahead = Lookahead(self._load, work.threads + 1, work.image_timeout_s, self._give_up)

    @property
    def num_stuck(self) -> int:
        """Threads that hang in an image that was given up."""
        return self._ahead.num_stuck

    def load(self, refs: Sequence[ImageRef], positions: Iterable[int], ahead: int) -> Iterator[LoadedImage]:
        """Load images, in order.

        Args:
            refs: of a shard.
            positions: which of them.
            ahead: images held or in the making beyond the one handed out.
        """
        self._refs, self._first = refs, _FirstOfEachContent()
        self._reader.begin(refs)
        yield from self._ahead.map(positions, ahead)

    def close(self) -> None:
        """Let go of threads and files."""
        self._ahead.close()
        self._reader.close()

    def _load(self, position: int) -> LoadedImage:
        begun_s = time.perf_counter()
        try:
            image = self._reader.read(self._refs[position], self._work.limits.max_bytes)
        except Exception as error:
            failure = ImageError(ErrorKind.UNREADABLE, describe(error))
            return LoadedImage(position, failure, read_s=time.perf_counter() - begun_s)
        if isinstance(image.data, ImageError):
            return LoadedImage(position, image.data, read_s=time.perf_counter() - begun_s, carried=image.carried)
        sha256 = hashlib.sha256(image.data).hexdigest()
        read_s = time.perf_counter() - begun_s
        result, decode_s = _timed(lambda: self._decode(position, sha256, image.data))
        return LoadedImage(position, result, sha256, len(image.data), read_s, decode_s, image.carried)

    def _decode(self, position: int, sha256: str, data: bytes | ImageError) -> DecodedImage | ImageError | SameAs:
        assert isinstance(data, bytes)
        if self._work.dedup and (first := self._first.of(sha256, position)) != position:
            return SameAs(first)
        try:
            return decode_image(data, self._image_size, self._work.limits)
        except ImageError as error:
            return error.with_traceback(None)  # which would hold on to the image's bytes

    def _give_up(self, position: int) -> LoadedImage:
        """Called while the thread at fault still hangs, perhaps with the reader's locks: a new reader takes over."""
        with suppress(Exception):
            reader = self._work.source.open_reader()
            reader.begin(self._refs[position + 1 :])
            self._reader = reader
        message = f"reading and decoding took longer than {self._work.image_timeout_s:g} s"
        return LoadedImage(position, ImageError(ErrorKind.TIMED_OUT, message), read_s=self._work.image_timeout_s)


class _FirstOfEachContent:
    """Which image of a shard came first with its bytes."""

    def __init__(self) -> None:
        self._positions: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, sha256: str, position: int) -> int:
        with self._lock:
            return self._positions.setdefault(sha256, position)


def _timed(
    function: Callable[[], DecodedImage | ImageError | SameAs],
) -> tuple[DecodedImage | ImageError | SameAs, float]:
    begun_s = time.perf_counter()
    return function(), time.perf_counter() - begun_s

"""Reads and decodes a shard's images ahead of the captioner, whatever the images do."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from typing import Any

from caption_core.archive.sources.source import ImageReader, SourceImage
from caption_core.engine.lookahead import Lookahead, Stages
from caption_core.engine.work import CaptioningWork
from caption_core.errors import ImageError
from caption_core.images import DecodedImage, decode_image, describe
from caption_core.records import ErrorKind, ImageRef

# An archive that hangs would otherwise cost a shard of a thousand images a day.
MAX_GIVEN_UP = 8

# Each thread that hangs in an image holds on to its memory, and perhaps to a CPU.
_MAX_STUCK_THREADS = 4

# Threads that wait for files; each may hold an image's bytes. Object stores and the web take their time, for each of
# two requests: 50 ms altogether are 160 images a second with eight threads, fewer than a CPU can caption.
_READERS = 8
_FAR_READERS = 16
_MOST_READERS = 24  # PyArrow makes 25 requests to S3 at a time

# Bytes that wait to be decoded: two batches of ordinary photographs, and few of the largest.
_ROOM = 24 * 2**20


@dataclass(frozen=True, slots=True)
class LoadedImage:
    """An image on its way to the captioner.

    Attributes:
        position: in its shard.
        result: the image, or why there is none.
        sha256: of its bytes, in hexadecimal; None where they weren't read.
        num_bytes: read.
        read_s: time to read and hash it.
        decode_s: time to decode and resize it.
        carried: what its source carries along.
    """

    position: int
    result: DecodedImage | ImageError
    sha256: str | None = None
    num_bytes: int = 0
    read_s: float = 0.0
    decode_s: float = 0.0
    carried: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ReadImage:
    position: int
    image: SourceImage
    read_s: float

    @property
    def num_bytes(self) -> int:
        return len(self.image.data) if isinstance(self.image.data, bytes) else 0


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Images of a shard that are to be loaded.

    Attributes:
        refs: of the shard.
        positions: which of them.
        ahead: images held or in the making beyond the one handed out.
        together: images that are waited for at once.
        note: called with each position before its image is touched, and with None when all are done with.
    """

    refs: Sequence[ImageRef]
    positions: Sequence[int]
    ahead: int
    together: int = 1
    note: Callable[[int | None], None] | None = None


class ImageLoader:
    """Loads shard after shard.

    Args:
        work: the run's.
        image_size: (height, width) in pixels that the captioner takes.
        beat: called while a shard's beginning is looked for, which in a compressed archive takes long.

    Raises:
        CapstanError: this machine can't read the archive.
    """

    def __init__(
        self, work: CaptioningWork, image_size: tuple[int, int], beat: Callable[[], None] = lambda: None
    ) -> None:
        self._work, self._image_size, self._beat = work, image_size, beat
        self._reader: ImageReader = work.source.open_reader()
        self._todo: Sequence[tuple[int, ImageRef]] = ()
        self._num_given_up = 0
        stages = Stages(self._read, self._compute, self._give_up, lambda read: read.num_bytes)
        self._ahead = Lookahead(stages, readers=_READERS, cpus=work.threads, timeout_s=work.image_timeout_s, room=_ROOM)

    @property
    def is_worn_out(self) -> bool:
        """Whether so many threads hang in images that were given up that the process should be replaced."""
        return self._ahead.num_stuck >= _MAX_STUCK_THREADS

    def held_back(self) -> AbstractContextManager[None]:
        """Within it no image begins to be decoded: the captioner has the CPUs."""
        return self._ahead.held_back()

    def load(self, wanted: LoadRequest) -> Iterator[LoadedImage]:
        """Load images, in order."""
        self._ahead.read_with(self._readers(wanted))
        self._todo, self._num_given_up = [(position, wanted.refs[position]) for position in wanted.positions], 0
        # These alone: a reader keeps what is announced until it is read.
        self._reader.begin([ref for _, ref in self._todo], beat=self._beat)
        handed_out = 0
        with closing(self._ahead.map(_noted(self._todo, wanted.note), wanted.ahead, wanted.together)) as images:
            for image in images:
                handed_out += 1
                yield image
                if self._num_given_up >= MAX_GIVEN_UP:
                    break
        timeout_s = self._work.image_timeout_s
        yield from (not_tried(position, timeout_s) for position in wanted.positions[handed_out:])

    def _readers(self, wanted: LoadRequest) -> int:
        if any(_is_far(wanted.refs[position].uri) for position in wanted.positions):
            return min(_FAR_READERS * self._work.threads, _MOST_READERS)
        return _READERS

    def _read(self, item: tuple[int, ImageRef]) -> _ReadImage:
        position, ref = item
        begun_s = time.perf_counter()
        try:
            image = self._reader.read(ref, self._work.limits.max_bytes)
        except Exception as error:
            image = SourceImage(ImageError(ErrorKind.UNREADABLE, describe(error)))
        return _ReadImage(position, image, time.perf_counter() - begun_s)

    def _compute(self, read: _ReadImage) -> LoadedImage:
        data, carried = read.image.data, read.image.carried
        if isinstance(data, ImageError):
            return LoadedImage(read.position, data, read_s=read.read_s, carried=carried)
        begun_s = time.perf_counter()
        sha256 = hashlib.sha256(data).hexdigest()
        hashed_s = time.perf_counter()
        result = self._decode(data)
        decode_s = time.perf_counter() - hashed_s
        read_s = read.read_s + hashed_s - begun_s
        return LoadedImage(read.position, result, sha256, len(data), read_s, decode_s, carried)

    def _decode(self, data: bytes) -> DecodedImage | ImageError:
        try:
            return decode_image(data, self._image_size, self._work.limits)
        except ImageError as error:
            return error.with_traceback(None)  # which would hold on to the image's bytes

    def _give_up(self, item: tuple[int, ImageRef]) -> LoadedImage:
        """Called while the thread at fault still hangs, perhaps with the reader's locks: a new reader takes over."""
        position, _ = item
        self._num_given_up += 1
        with suppress(Exception):
            reader = self._work.source.open_reader()
            reader.begin([ref for other, ref in self._todo if other > position], beat=self._beat)
            self._reader = reader
        message = f"reading or decoding took longer than {self._work.image_timeout_s:g} s"
        return LoadedImage(position, ImageError(ErrorKind.TIMED_OUT, message), read_s=self._work.image_timeout_s)


def _noted(
    items: Sequence[tuple[int, ImageRef]], note: Callable[[int | None], None] | None
) -> Iterator[tuple[int, ImageRef]]:
    for item in items:
        if note:
            note(item[0])
        yield item
    if note:
        note(None)


def _is_far(uri: str) -> bool:
    """Whether each image is a request of its own; of an archive, which a # follows, they come in turn."""
    return not uri.startswith("file:") and "#" not in uri


def not_tried(position: int, timeout_s: float) -> LoadedImage:
    """What becomes of the images of a shard that come after `MAX_GIVEN_UP` that hung."""
    message = f"not tried: {MAX_GIVEN_UP} images of its shard had taken longer than {timeout_s:g} s each"
    return LoadedImage(position, ImageError(ErrorKind.TIMED_OUT, message))

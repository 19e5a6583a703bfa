"""Reads a tar's images, and their siblings, where their references say they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from caption_core.archive.sources.random_access import RandomAccess
from caption_core.archive.sources.source import SourceImage, no_beat
from caption_core.archive.sources.tar_listing import key_of
from caption_core.archive.sources.tar_places import Span, TarPlace
from caption_core.archive.store_errors import cause_of, image_error_of
from caption_core.errors import ImageError
from caption_core.records import ErrorKind, ImageRef

# Spans with less than this between them are read at once: the headers between an image and its siblings.
_GAP_BYTES = 8 << 10
# What is this near to an image is at hand when the image has been decompressed.
_NEAR_BYTES = 4 << 20
_MOST_FETCHED_BYTES = 1 << 28


class TarReader:
    """See `ImageReader`.

    Args:
        content: of the tar; closed with the reader.
        forwards: whether going back and forth in it costs much, since it is compressed. Siblings that are far from
            their images are then read first, in one go through the archive for a shard.
        remote: whether it is in an object store.
    """

    def __init__(self, content: RandomAccess, *, forwards: bool, remote: bool) -> None:
        self._content = content
        self._forwards = forwards
        self._remote = remote
        self._fetched: dict[Span, bytes] = {}

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`; decompresses what lies before the shard, since an image may take only so long."""
        self._fetched = {}
        if self._forwards:
            places = [TarPlace.from_locator(ref.locator) for ref in refs]
            with suppress(OSError):  # each image's row will tell of it, if it persists
                self._fetch(sorted(_far_siblings(places), key=lambda span: span.offset), beat)
                self._approach(places, beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """See `ImageReader`."""
        place = TarPlace.from_locator(ref.locator)
        error = place.error or _size_error(place.image, max_bytes)
        spans = {"image": None if error else place.image, "json": place.json, "txt": place.txt}
        try:
            data = self._read_spans({name: span for name, span in spans.items() if span is not None})
        except OSError as failure:
            # Without its siblings too an image is a failed row: a retry may get them all.
            return SourceImage(self._image_error(failure), {"key": key_of(ref.uri)})
        if place.image is not None and error is None and len(data["image"]) < place.image.num_bytes:
            error = ImageError(ErrorKind.CORRUPT, self._content.damage or "the archive ends in it")
        return SourceImage(error or data["image"], _carried(ref, place, data))

    def close(self) -> None:
        """See `ImageReader`."""
        self._fetched = {}
        self._content.close()

    def _image_error(self, failure: OSError) -> ImageError:
        return image_error_of(failure) if self._remote else ImageError(ErrorKind.UNREADABLE, cause_of(failure))

    def _approach(self, places: Iterable[TarPlace], beat: Callable[[], None]) -> None:
        offsets = [place.image.offset for place in places if place.image is not None]
        if offsets:
            self._content.approach(min(offsets), beat)

    def _fetch(self, spans: Iterable[Span], beat: Callable[[], None]) -> None:
        num_bytes = 0
        for span in spans:
            num_bytes += span.num_bytes
            if num_bytes > _MOST_FETCHED_BYTES:
                return
            self._content.approach(span.offset, beat)
            self._fetched[span] = self._content.read_at(span.num_bytes, span.offset)

    def _read_spans(self, spans: Mapping[str, Span]) -> dict[str, bytes]:
        """Read several spans, those that lie close together at once; one beyond the content's end is short."""
        found = {name: self._fetched[span] for name, span in spans.items() if span in self._fetched}
        for group in _neighbours({name: span for name, span in spans.items() if name not in found}):
            found |= _read_group(self._content, group)
        return found


def _far_siblings(places: Iterable[TarPlace]) -> set[Span]:
    return {
        sibling
        for place in places
        for sibling in (place.json, place.txt)
        if sibling and (place.image is None or abs(sibling.offset - place.image.offset) > _NEAR_BYTES)
    }


def _neighbours(spans: Mapping[str, Span]) -> Iterator[dict[str, Span]]:
    group: dict[str, Span] = {}
    end = 0
    for name, span in sorted(spans.items(), key=lambda item: item[1].offset):
        if group and span.offset - end > _GAP_BYTES:
            yield group
            group = {}
        group[name] = span
        end = span.end
    if group:
        yield group


def _read_group(content: RandomAccess, spans: Mapping[str, Span]) -> dict[str, bytes]:
    start = min(span.offset for span in spans.values())
    data = content.read_at(max(span.end for span in spans.values()) - start, start)
    if len(spans) == 1:
        return dict.fromkeys(spans, data)
    return {name: data[span.offset - start : span.end - start] for name, span in spans.items()}


def _size_error(span: Span | None, max_bytes: int) -> ImageError | None:
    if span is None or not span.num_bytes:
        return ImageError(ErrorKind.EMPTY, "zero bytes")
    if span.num_bytes > max_bytes:
        return ImageError(ErrorKind.TOO_MANY_BYTES, f"{span.num_bytes:,} bytes, more than the {max_bytes:,} allowed")
    return None


def _carried(ref: ImageRef, place: TarPlace, data: Mapping[str, bytes]) -> dict[str, str | None]:
    texts = {"json": _text(place.json, data.get("json")), "txt": _text(place.txt, data.get("txt"))}
    return {"key": key_of(ref.uri), **texts}


def _text(span: Span | None, data: bytes | None) -> str | None:
    if span is None or data is None or len(data) < span.num_bytes:
        return None
    return data.decode("utf-8", errors="replace")

"""Where in a tar an image and its siblings are: the locator of its reference."""

from __future__ import annotations

from dataclasses import dataclass

from caption_core.errors import ImageError
from caption_core.records import ErrorKind


@dataclass(frozen=True, slots=True)
class Span:
    """A run of an archive's bytes; for a compressed archive, of its content's."""

    offset: int
    num_bytes: int

    @property
    def end(self) -> int:
        """The offset of the first byte after it."""
        return self.offset + self.num_bytes


@dataclass(frozen=True, slots=True)
class TarPlace:
    """What it takes to read one listed image.

    Attributes:
        image: its bytes; None where they can't be read, for the reason that `kind` and `cause` give.
        json: the sibling's, where there is one.
        txt: the sibling's, where there is one.
        kind: of the error.
        cause: of the error, in words.
    """

    image: Span | None
    json: Span | None = None
    txt: Span | None = None
    kind: ErrorKind | None = None
    cause: str = ""

    def to_locator(self) -> str:
        """Text of some 20 characters a file: offset,size of image, json and txt, then the error."""
        spans = ";".join(_text(span) for span in (self.image, self.json, self.txt))
        return f"{spans};{self.kind.value};{self.cause}" if self.kind else spans

    @classmethod
    def from_locator(cls, locator: str) -> TarPlace:
        """What `to_locator` wrote."""
        image, json, txt, *error = locator.split(";", 4)
        kind, cause = error or (None, "")
        return cls(_span(image), _span(json), _span(txt), ErrorKind(kind) if kind else None, cause)

    @property
    def error(self) -> ImageError | None:
        """Why the image can't be read, where that was seen when it was listed."""
        return ImageError(self.kind, self.cause) if self.kind else None


def _text(span: Span | None) -> str:
    return f"{span.offset},{span.num_bytes}" if span else ""


def _span(text: str) -> Span | None:
    offset, comma, num_bytes = text.partition(",")
    return Span(int(offset), int(num_bytes)) if comma else None

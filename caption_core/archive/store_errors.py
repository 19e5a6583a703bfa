"""What PyArrow's file systems raise, in one line of words."""

from __future__ import annotations

import re

from caption_core.errors import ImageError
from caption_core.records import ErrorKind

_AWS_ERROR = re.compile(r"AWS Error ([A-Z_]+) during (\w+) operation(?:: (.*))?", re.DOTALL)
_REQUEST_ID = re.compile(r"\s*\(Request ID:[^)]*\)")
# S3's, Google's, Azure's and HDFS's words for the same thing; PyArrow hands on nothing but text.
_DENIED = re.compile(
    r"access.?denied|permission.?denied|unauthorized|forbidden|account.?problem|credential|authentication|"
    r"access.?key|signature|token",
    re.IGNORECASE,
)
_CHARACTERS = 300


def cause_of(error: BaseException) -> str:
    """The cause in words: no numbers of requests, no stack of a store's own library."""
    if isinstance(error, FileNotFoundError):
        return "not found"
    text = str(error)
    if match := _AWS_ERROR.search(text):
        text = _aws_words(*match.groups())
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    text = " ".join(_REQUEST_ID.sub("", text).strip().split("\n")[0].split()) or type(error).__name__
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"


def is_denied(error: BaseException) -> bool:
    """Whether somebody with other rights could have read it."""
    return isinstance(error, PermissionError) or _DENIED.search(cause_of(error)) is not None


def image_error_of(error: BaseException) -> ImageError:
    """What an image ends with that a store didn't give."""
    if isinstance(error, FileNotFoundError) or "NO_SUCH_" in str(error):
        return ImageError(ErrorKind.NOT_FOUND, "no such object")
    if isinstance(error, ValueError):  # ArrowInvalid: a name that the file system can't address
        return ImageError(ErrorKind.UNREADABLE, cause_of(error))
    if is_denied(error):
        return ImageError(ErrorKind.UNREADABLE, cause_of(error))
    return ImageError(ErrorKind.DOWNLOAD_FAILED, cause_of(error))


def _aws_words(code: str, operation: str, detail: str | None) -> str:
    """AWS's code as words, and what comes with it where that says more ('No response body.' doesn't)."""
    words = code.replace("_", " ").lower()
    detail = (detail or "").split("; Details: ")[-1].strip()
    if not detail or detail.startswith("No response body"):
        return f"{words} ({operation})"
    return f"{words} ({operation}): {detail}"

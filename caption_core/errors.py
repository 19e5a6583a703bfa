"""Errors whose messages are meant for the user: each names the thing at fault and the cause."""

from __future__ import annotations

from caption_core.records import ErrorKind


class CapstanError(Exception):
    """Base of all errors that a job prints as one line."""


class UsageError(CapstanError):
    """A wrong argument or a combination that can't work; a job exits with code 2 before any cluster work."""


class BundleError(CapstanError):
    """A bundle that is missing, incomplete, altered or of an unknown version."""


class ImageError(CapstanError):
    """An image that can't be captioned; becomes a row with `status` 'failed'.

    Args:
        kind: the typed cause, written as `error_kind`.
        message: the cause in words, written as `error_message`.
    """

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[ErrorKind, str]]:
        """So that it can travel between processes; an exception's own way knows the message alone."""
        return type(self), (self.kind, str(self))

"""Another try at what a file system or an object store refuses for a moment."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from caption_core.archive.store_errors import is_denied
from caption_core.errors import CapstanError

Result = TypeVar("Result")

# Errors that waiting doesn't mend: no space, no permission, no such folder.
_LASTING = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}
)
_PAUSES_S = (1.0, 5.0, 20.0)


def patiently(action: Callable[[], Result], beat: Callable[[], None] = lambda: None) -> Result:
    """Do something, and do it again after some seconds where it is refused for no lasting reason; three times at most.

    Args:
        action: what to do.
        beat: called before each pause.
    """
    for pause_s in _PAUSES_S:
        try:
            return action()
        except (CapstanError, OSError) as error:
            if refusal_of(error) is None:
                raise
        beat()
        time.sleep(pause_s)
    return action()


def refusal_of(error: BaseException) -> OSError | None:
    """The refusal that an error is, or comes from, where it may pass; None otherwise."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__
    return None if cause is None or _is_lasting(cause) else cause


def _is_lasting(refusal: OSError) -> bool:
    # Object stores give no number.
    return refusal.errno in _LASTING or isinstance(refusal, FileNotFoundError) or is_denied(refusal)

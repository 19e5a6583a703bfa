r"""File names as text, without loss: a file system's names are bytes, a caption's image id is UTF-8.

A name that is valid UTF-8 stays as it is. A byte that isn't is written ``\xNN``, and so that no two names meet, the
backslash of a name that literally holds ``\xNN`` is written ``\x5c``.
"""

from __future__ import annotations

import re

_LITERAL_ESCAPE = re.compile(rb"\\(?=x[0-9a-fA-F]{2})")
_ESCAPE = re.compile(rb"\\x([0-9a-fA-F]{2})")


def name_to_text(name: bytes) -> str:
    """Text that names exactly this file."""
    return _LITERAL_ESCAPE.sub(rb"\\x5c", name).decode("utf-8", errors="backslashreplace")


def text_to_name(text: str) -> bytes:
    """The name that `name_to_text` made this text from."""
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8"))

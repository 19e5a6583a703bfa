"""Finding Java and the programs that come with the `coco` extra (pycocoevalcap)."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from caption_core.metrics.optional_metrics import UnavailableError

_PACKAGE = "pycocoevalcap"
INSTALL = "install Java and the extra: pip install 'capstan[coco]'"


def find_java(metric: str) -> str:
    """Path of the `java` command.

    Raises:
        UnavailableError: there is none.
    """
    java = shutil.which("java")
    if java is None:
        raise UnavailableError(f"{metric} left out: no java command; {INSTALL}")
    return java


def find_program(metric: str, relative: str) -> Path:
    """Path of a file inside pycocoevalcap, which is located without being imported.

    Raises:
        UnavailableError: the package, or the file in it, is missing.
    """
    found = importlib.util.find_spec(_PACKAGE)
    for folder in (found.submodule_search_locations or []) if found else []:
        if (program := Path(folder) / relative).is_file():
            return program
    raise UnavailableError(f"{metric} left out: no {relative} of pycocoevalcap; {INSTALL}")

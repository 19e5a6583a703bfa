"""What the commands of this job share: kinds of paths, and the command line as a bundle records it."""

from __future__ import annotations

import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from caption_core.archive.storage import is_remote
from jobs.lasting_output import lasting_output


class _Output(click.Path):
    """A folder that is there when the job is gone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what isn't, before it is resolved."""
        if is_remote(str(value)):
            self.fail(f"{value}: must be a folder; only captions go to an object store at once", param, ctx)
        return super().convert(lasting_output(str(value)), param, ctx)


# Resolved, because workers run in folders of their own.
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
ANY = click.Path(resolve_path=True, path_type=Path)
OUTPUT = _Output(resolve_path=True, path_type=Path)


def recorded_command_line() -> str:
    """This process' command line, for a bundle's provenance: without this machine's folders, and without notes."""
    words = [word for before, word in pairwise(sys.argv) if "--note" not in (before, word)]
    return "python jobs/train_compress.py " + shlex.join(map(_without_folders, words))


def _without_folders(word: str) -> str:
    """An absolute path's or an address' last part alone, after a name too, as in NAME=BUNDLE."""
    name = word[: word.partition("/")[0].rfind("=") + 1]
    place = word.removeprefix(name)
    if not (place.startswith("/") or is_remote(place)):
        return word
    last = place.rstrip("/").rpartition("/")[2]
    return name + (last.rpartition("@")[2] if is_remote(place) else last)

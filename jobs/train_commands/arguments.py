"""What the commands of this job share: kinds of paths, options of data, and the command line as a bundle records it."""

from __future__ import annotations

import re
import shlex
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import click

from jobs.lasting_output import lasting_output

_PLACE = re.compile(r"(?P<name>([\w-]+=)?)(/|[\w+.-]+://)(.*/)?(?P<last>[^/]+)/*")


class _Output(click.Path):
    """A path that is there when the job is gone."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse what isn't, before it is resolved."""
        return super().convert(lasting_output(str(value)), param, ctx)


# Resolved, because workers run in folders of their own.
FILE = click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path)
ANY = click.Path(resolve_path=True, path_type=Path)
OUTPUT = _Output(resolve_path=True, path_type=Path)

SPLITS = click.option(
    "--splits", help="Karpathy JSON, or Parquet with a column 'split' [default: the first --captions]."
)
SKIP_MISSING = click.option(
    "--skip-missing", is_flag=True, help="Leave out images without caption or file, and say how many."
)


def recorded_command_line() -> str:
    """This process' command line, for a bundle's provenance: without this machine's folders, and without notes."""
    words = [word for before, word in pairwise(sys.argv) if "--note" not in (before, word)]
    return "python jobs/train_compress.py " + shlex.join(map(_without_folders, words))


def _without_folders(word: str) -> str:
    """An absolute path's or an address' last part alone, after a name too, as in NAME=BUNDLE."""
    place = _PLACE.fullmatch(word)
    return place["name"] + place["last"] if place else word

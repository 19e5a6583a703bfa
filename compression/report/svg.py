"""How charts look, and their way into SVG: small, equal for equal input, legible on light and dark pages."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

INK = "#333333"
PALE = "#c4c4c4"
PAPER = "#ffffff"
COLOURS = ("#d1495b", "#2e86c9", "#e08e1b")
"""Told apart by who sees no red or green too, and on white and black alike."""

# Text stays text, so that files are small and can be searched; a fixed salt makes equal charts equal files; and a name
# with dollar signs is a name, not a formula.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "capstan",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK),
}

_DARK = {INK: "#dddddd", PALE: "#555555", PAPER: "#161616"}
_DARK_RULES = "".join(
    f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
    for light, dark in _DARK.items()
    for what in ("fill", "stroke")
)
# Lines that cross a text end before it.
_HALO = "text{paint-order:stroke;stroke:%s;stroke-width:2px}"
_CSS = _HALO % PAPER + f"@media (prefers-color-scheme: dark){{{_HALO % _DARK[PAPER]}{_DARK_RULES}}}"
_PATH = re.compile(rb'(?<= d=")[^"]*')
_TYPE = re.compile(rb"<!DOCTYPE[^>]*>\s*")
_DIGITS = re.compile(rb"(\.\d\d)\d+")


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of a size in inches, in the style of reports.

    It belongs to no window and to no list of open figures, so nothing has to be closed.
    """
    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg_of(figure: Figure) -> bytes:
    """The figure's file; to be called while it is drawn on."""
    file = io.BytesIO()
    # Without date and version, so that equal charts are equal files; and no address but those of namespaces.
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    untyped = _TYPE.sub(b"", file.getvalue(), count=1)
    # A hundredth of a point can't be seen.
    small = _PATH.sub(lambda path: _DIGITS.sub(rb"\1", path[0]), untyped)
    return small.replace(b"</style>", _CSS.encode() + b"</style>", 1)

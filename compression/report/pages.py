"""A report's texts: Markdown, and one page of HTML that needs no other file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from compression.report.columns import Table
from compression.report.tables import as_markdown, escape

_STYLE = "report.css"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        name: of its file, without folder.
        title: in words.
        says: what there is to see in it, for who doesn't see it.
        svg: its content.
        is_detail: shown on demand only.
        table: what of it is worth reading as figures.
    """

    name: str
    title: str
    says: str
    svg: bytes
    is_detail: bool = False
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """How a variant was made.

    Attributes:
        variant: its name.
        bundle: name@digest of its bundle.
        seed: its recipe's.
        recipe: the steps as YAML; empty for a captioner as it is.
        command: command line.
    """

    variant: str
    bundle: str
    seed: int
    recipe: str
    command: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says, in whatever form.

    Attributes:
        title: its heading.
        notes: paragraphs of plain text.
        tables: the readable ones.
        charts: figures.
        origins: how each variant was made.
    """

    title: str
    notes: Sequence[str]
    tables: Sequence[Table]
    charts: Sequence[Chart]
    origins: Sequence[Origin]

    def glossary(self) -> dict[str, dict[str, str]]:
        """What the columns mean: by a table's title, then by heading."""
        # The charts' tables all have the same columns.
        layers = [("Layers", chart.table) for chart in self.charts if chart.table][:1]
        titled = [*((table.title, table) for table in self.tables), *layers]
        return {title: dict(zip(table.headings, table.meanings, strict=True)) for title, table in titled}


def render_markdown(report: Report) -> str:
    """The report as Markdown; charts are linked as files beside it."""
    parts = [f"# {escape(report.title)}", *map(escape, report.notes)]
    for table in report.tables:
        parts += [f"## {escape(table.title)}", as_markdown(table).rstrip()]
    for title, details in (("Charts", False), ("Layers", True)):
        shown = [part for chart in report.charts if chart.is_detail == details for part in _markdown_chart(chart)]
        parts += [f"## {title}", *shown] if shown else []
    parts += ["## What the columns mean", *_markdown_glossary(report)]
    parts += ["## How each was made", *(_fenced(command) for command in _commands(report))]
    parts += [_markdown_origin(one) for one in report.origins if one.recipe]
    return "\n\n".join(parts) + "\n"


def _markdown_chart(chart: Chart) -> list[str]:
    table = [f"{escape(chart.table.title)}:", as_markdown(chart.table).rstrip()] if chart.table else []
    return [f"![{escape(chart.says)}]({chart.name})", *table]


def _markdown_glossary(report: Report) -> list[str]:
    return [
        "\n".join([f"{escape(title)}:", "", *(f"- {escape(name)}: {escape(text)}" for name, text in meanings.items())])
        for title, meanings in report.glossary().items()
    ]


def _markdown_origin(one: Origin) -> str:
    return f"**{escape(one.variant)}** ({escape(one.bundle)}, seed {one.seed})\n\n{_fenced(one.recipe, 'yaml')}"


def _commands(report: Report) -> list[str]:
    return list(dict.fromkeys(one.command for one in report.origins if one.command))


def _fenced(text: str, language: str = "") -> str:
    """A block of code, whatever backticks are in it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def render_html(report: Report) -> str:
    """The report as one page; everything in it is escaped, it runs no script, and it loads nothing."""
    # Imported late: reports in other forms need no templates.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("compression.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data_uri"] = _data_uri
    style, _, _ = loader.get_source(environment, _STYLE)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.get_template("report.html.j2")
    return template.render(report=report, style=style, style_digest=digest, commands=_commands(report)) + "\n"


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"

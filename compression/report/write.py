"""Measured studies to a report's files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from caption_core.errors import UsageError
from compression.files import write_bytes
from compression.report.columns import readable_tables
from compression.report.formats import FORMATS
from compression.report.layers import layer_rows, layer_table
from compression.report.measured import Measured, collect, find
from compression.report.notes import notes_of
from compression.report.pages import Chart, Origin, Report, render_html, render_markdown
from compression.report.rows import Compare, Row, make_rows
from compression.report.seeds import seed_rows
from compression.report.tables import as_csv, as_json, as_parquet

_NEEDS = {"md": ("matplotlib",), "html": ("matplotlib", "jinja2")}
_TABLES = {"json": as_json, "csv": as_csv, "parquet": as_parquet}
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class ReportConfig:
    """What to report.

    Attributes:
        studies: folders below which variants were measured.
        output: folder of the report's files.
        title: its heading; files are named after it.
        baseline: variant that all are compared with; None compares each with its own captioner as it is.
        references: references of the scored images, for the intervals of differences; None leaves these out.
        beam_width: in place of each captioner's own.
        variants: these only; all if there are none.
        layers: variants whose layers are drawn and written one by one; all if there are none.
        formats: kinds of files.
    """

    studies: tuple[Path, ...]
    output: Path
    title: str
    baseline: str | None = None
    references: str | None = None
    beam_width: int | None = None
    variants: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    formats: tuple[str, ...] = FORMATS

    def __post_init__(self) -> None:
        if not self.studies:
            raise UsageError("a report needs at least one measured study")
        if not self.formats:
            raise UsageError(f"a report needs at least one format of {', '.join(FORMATS)}")
        if unknown := set(self.formats) - set(FORMATS):
            raise UsageError(f"unknown format {min(unknown)!r}; there are {', '.join(FORMATS)}")
        if not _slug(self.title):
            raise UsageError("the title needs a letter or a digit: files are named after it")


def write_report(config: ReportConfig) -> list[Path]:
    """Write the report's files and return them; each is there whole or not at all, and none before all are made.

    Raises:
        UsageError: nothing was measured there, a named variant is none of those that were, a file of captions or
            references can't be read, or a package that the formats need is missing.
        MetricError: captions and references don't match.
    """
    _check_packages(config.formats)
    measured = collect(config.studies)
    reported, rows = _reported_rows(config, measured)
    layers = layer_rows(_chosen(reported, config.layers))
    files = _table_files(config, rows, {"seeds": seed_rows(reported, rows), "layers": layers})
    if set(config.formats) & _NEEDS.keys():
        files |= _page_files(config, _report(config, reported, rows))
    written = [write_bytes(config.output / name, content) for name, content in files.items()]
    if "md" in config.formats:
        _remove_other_charts(config, written)
    return written


def report_of(config: ReportConfig, measured: Sequence[Measured]) -> Report:
    """What a report of measured variants says, before it is written in any form."""
    return _report(config, *_reported_rows(config, measured))


def _reported_rows(config: ReportConfig, measured: Sequence[Measured]) -> tuple[list[Measured], list[Row]]:
    reported = _chosen(measured, config.variants)
    compare = _comparison(config.references)
    rows = make_rows(
        measured, baseline=config.baseline, beam_width=config.beam_width, compare=compare, reported=reported
    )
    return reported, rows


def _check_packages(formats: Sequence[str]) -> None:
    needed = dict.fromkeys(package for form in formats for package in _NEEDS.get(form, ()))
    if missing := [package for package in needed if find_spec(package) is None]:
        raise UsageError(
            f"a report as md or html needs {missing[0]}, which is not installed: pip install 'capstan[train]', or "
            "choose --format csv, json or parquet"
        )


def _chosen(measured: Sequence[Measured], names: Sequence[str]) -> list[Measured]:
    chosen = [find(measured, name, "variant") for name in names]
    return [one for one in measured if one in chosen or not names]


def _comparison(references: str | None) -> Compare | None:
    if references is None:
        return None
    # Imported late: only this needs the metrics.
    from compression.measuring.quality import compare_captions

    return lambda captions, baseline: compare_captions(captions, baseline, references)


def _table_files(config: ReportConfig, rows: Sequence[Row], others: Mapping[str, Sequence[Row]]) -> dict[str, bytes]:
    """Files of rows; and of others that are named after what they are of, where there are some."""
    slug = _slug(config.title)
    tables = {slug: rows} | {f"{slug}-{name}": content for name, content in others.items() if content}
    return {
        f"{name}.{form}": write(content)
        for form, write in _TABLES.items()
        if form in config.formats
        for name, content in tables.items()
    }


def _report(config: ReportConfig, measured: Sequence[Measured], rows: Sequence[Row]) -> Report:
    return Report(
        title=config.title,
        notes=notes_of(measured, rows),
        tables=readable_tables(rows, seed_rows(measured, rows)),
        charts=make_charts(measured, rows, _slug(config.title), _chosen(measured, config.layers)),
        origins=[_origin(one) for one in measured],
    )


def _origin(one: Measured) -> Origin:
    own = one.measurement
    recipe = own.recipe.strip() if one.recipe else ""
    return Origin(one.name, own.bundle_id, own.seed, recipe, own.command)


def _page_files(config: ReportConfig, report: Report) -> dict[str, bytes]:
    name = _slug(config.title)
    files = {f"{name}.md": render_markdown(report).encode()} if "md" in config.formats else {}
    files |= {f"{name}.html": render_html(report).encode()} if "html" in config.formats else {}
    # A page has its charts in itself; Markdown needs them beside it.
    return files | ({chart.name: chart.svg for chart in report.charts} if "md" in config.formats else {})


def make_charts(
    measured: Sequence[Measured], rows: Sequence[Row], prefix: str, layers: Sequence[Measured]
) -> list[Chart]:
    """All charts that there is something to draw for; their files' names begin with the prefix."""
    return [*_front_charts(measured, rows, prefix), *_layer_charts(layers, prefix)]


def _front_charts(measured: Sequence[Measured], rows: Sequence[Row], prefix: str) -> list[Chart]:
    # Imported late, as matplotlib is: tables need no charts.
    from compression.report.plots import size_chart, speed_chart

    threads = sorted({speed.threads for one in measured for speed in one.measurement.speed})
    drawn = [("size", "Quality against stored size", size_chart(rows))]
    drawn += [(f"speed-{n}", f"Quality against speed, threads: {n}", speed_chart(rows, n)) for n in threads]
    return [
        Chart(f"{prefix}-{name}.svg", f"{title}.", f"{title}. On the Pareto front: {', '.join(chart.front)}", chart.svg)
        for name, title, chart in drawn
        if chart is not None
    ]


def _layer_charts(measured: Sequence[Measured], prefix: str) -> list[Chart]:
    from compression.report.layer_plots import layer_chart

    charts: list[Chart] = []
    for number, one in enumerate(measured, 1):
        if svg := layer_chart(one.measurement):
            # The number tells apart names that differ in signs only.
            name = f"{prefix}-layers-{number}-{_slug(one.name)[:_LONGEST_NAME]}".rstrip("-")
            says = f"Layers of {one.name}: zeros, and errors of quantization"
            charts.append(
                Chart(f"{name}.svg", f"Layers of {one.name}", says, svg, is_detail=True, table=layer_table(one))
            )
    return charts


def _remove_other_charts(config: ReportConfig, written: Sequence[Path]) -> None:
    """Remove charts that an earlier report of this title had and this one hasn't: of variants that are gone."""
    own = re.compile(re.escape(_slug(config.title)) + r"-(size|speed-\d+|layers-\d+(-[a-z0-9-]+)?)\.svg")
    for path in set(config.output.glob("*.svg")) - set(written):
        if own.fullmatch(path.name):
            path.unlink()


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LONGEST_NAME]

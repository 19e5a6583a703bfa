"""`report`: measured variants to tables, charts and pages."""

from __future__ import annotations

from pathlib import Path

import click

from compression.report.formats import FORMATS
from jobs.train_commands.arguments import FOLDER, OUTPUT


@click.command()
@click.argument("studies", nargs=-1, required=True, type=FOLDER)
@click.option("--output", type=OUTPUT, required=True, help="Folder of the report's files.")
@click.option("--title", default="Compression", show_default=True, help="Heading; files are named after it.")
@click.option("--baseline", help="Variant that all are compared with [default: each one's own captioner as it is].")
@click.option("--references", help="References of the scored images: gives differences their intervals.")
@click.option("--beam-width", type=int, help="Compare with this search [default: each captioner's own].")
@click.option("--variant", "variants", multiple=True, help="Report this variant; several add up [default: all].")
@click.option("--layers", multiple=True, help="Draw and list this variant's layers; several add up [default: of all].")
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), default=FORMATS, show_default=True)
def report(
    studies: tuple[Path, ...],
    output: Path,
    title: str,
    baseline: str | None,
    references: str | None,
    beam_width: int | None,
    variants: tuple[str, ...],
    layers: tuple[str, ...],
    formats: tuple[str, ...],
) -> None:
    """Report what was measured below the folders STUDIES: what each variant costs and gains."""
    # Imported late: the help of all commands must not wait for it.
    from compression.report.write import ReportConfig, write_report

    config = ReportConfig(studies, output, title, baseline, references, beam_width, variants, layers, formats)
    for path in write_report(config):
        click.echo(path)

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compression.report.measured import collect
from compression.report.pages import Report, render_html, render_markdown
from compression.report.write import ReportConfig, report_of
from tests.compression.report.measurements import PRUNE, example_study, layers, measurement, sizes, write_study

HOSTILE = "<script>document.title='ran'</script>"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Of the example, and a variant that would be a script if it were not escaped."""
    folder = tmp_path_factory.mktemp("study")
    hostile = measurement(
        HOSTILE, PRUNE, sizes=sizes(3.0), layers=layers(0.9), command=f"{HOSTILE} ``` x", bundle_id=HOSTILE
    )
    write_study(folder, [*example_study(), hostile])
    return report_of(ReportConfig((folder,), folder / "out", f"A {HOSTILE} report"), collect([folder]))


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return render_html(report)


class _Elements(HTMLParser):
    """Names and attributes of all elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.found if tag in tags)


def test_everything_is_escaped(page: str) -> None:
    assert not list(_Elements(page).named("script"))
    assert "&lt;script&gt;document.title=&#39;ran&#39;&lt;/script&gt;" in page


def test_the_page_is_one_file_that_loads_nothing(page: str) -> None:
    elements = _Elements(page)
    assert not list(elements.named("link", "iframe", "object", "embed", "base", "form"))
    addresses = [
        a[name] for _, a in elements.found for name in ("src", "href", "action", "data", "srcset") if name in a
    ]
    assert addresses
    assert all(str(address).startswith("data:image/svg+xml;base64,") for address in addresses)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page


def test_the_policy_allows_this_style_and_nothing_else_but_embedded_images(page: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/=]+'; img-src data:; base-uri 'none'; form-action 'none'",
        policy.replace("&#43;", "+"),
    )


def test_charts_are_embedded_whole_and_described(page: str, report: Report) -> None:
    images = list(_Elements(page).named("img"))
    sources = [base64.b64decode(str(image["src"]).partition(",")[2]) for image in images]
    assert sorted(sources) == sorted(chart.svg for chart in report.charts)
    assert all(image["alt"] for image in images)


def test_tables_have_row_and_column_headings_and_can_be_reached_by_keyboard(page: str, report: Report) -> None:
    elements = _Elements(page)
    scopes = [heading.get("scope") for heading in elements.named("th")]
    tables = [*report.tables, *(chart.table for chart in report.charts if chart.table)]
    assert len(tables) == len(report.tables) + 2  # the layers of what is quantized and has layers
    assert scopes.count("row") == sum(len(table.cells) for table in tables)
    assert scopes.count("col") == sum(len(table.headings) for table in tables)
    regions = [region for region in elements.named("div") if region.get("role") == "region"]
    assert len(regions) == len(tables)
    assert all(region["tabindex"] == "0" for region in regions)
    # Each has a label of its own that is there.
    labels = [str(region["aria-labelledby"]) for region in regions]
    assert len(set(labels)) == len(labels)
    assert set(labels) <= {attributes.get("id") for _, attributes in elements.found}


def test_markdown_has_tables_links_to_charts_recipes_and_no_markup_of_names(report: Report) -> None:
    text = render_markdown(report)
    assert "<script" not in re.sub(r"(`{3,}).*?\1", "", text, flags=re.DOTALL)
    assert f"````\n{HOSTILE} ``` x\n````" in text
    assert "```yaml\n- hard:\n    part: decoder" in text
    for chart in report.charts:
        assert f"]({chart.name})" in text
    assert "\n\nLayers of int8 with the largest errors of quantization:\n\n| layer " in text
    assert "\nLayers:\n\n- layer: A weight matrix" in text
    for heading in ("At a glance", "Quality", "Size", "Speed, 1 thread", "What the columns mean", "How each was made"):
        assert f"\n## {heading}\n\n" in text


def test_markdown_tables_are_whole(report: Report) -> None:
    lines = [line for line in render_markdown(report).splitlines() if line.startswith("|")]
    widths = {len(line) for line in lines[:3]}
    assert len(widths) == 1
    for table in report.tables:
        assert (
            sum(len(re.findall(r"(?<!\\)\|", line)) == len(table.headings) + 1 for line in lines)
            >= len(table.cells) + 2
        )


def in_browser(*arguments: str) -> str:
    assert BROWSER is not None
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.slow
@needs_browser
def test_a_browser_shows_the_tables_and_runs_no_script(page: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    # Escaping would have let none through; this one is there to be blocked by the policy.
    path.write_text(page.replace("</main>", f"{HOSTILE}<p id='after'>after</p></main>"), encoding="utf-8")
    found = in_browser("--dump-dom", path.as_uri())
    assert '<p id="after">after</p>' in found
    assert re.search(r"<title>A &lt;script&gt;.*? report</title>", found)
    assert '<th scope="row">pruned int8</th><td>0.570</td>' in found
    # The same script runs where no policy forbids it: so it is the policy that did.
    path.write_text(f"<title>still</title>{HOSTILE}", encoding="utf-8")
    assert "<title>ran</title>" in in_browser("--dump-dom", path.as_uri())


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_style_and_charts(page: str, tmp_path: Path, scheme: str) -> None:
    path, picture = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(page, encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    in_browser("--hide-scrollbars", "--window-size=1200,4000", f"--screenshot={picture}", *dark, path.as_uri())
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    background = pixels[2, 2].mean()
    assert background < 60 if scheme == "dark" else background > 200
    # A marker's colour is nowhere but in the charts, so they were drawn under the policy.
    blue = np.abs(pixels - (0x2E, 0x86, 0xC9)).max(axis=2) < 12
    assert blue.sum() > 20

import re

from compression.report.svg import INK, drawing, svg_of


def test_a_file_has_no_date_no_address_but_namespaces_and_a_style_for_dark_pages() -> None:
    with drawing(3, 2) as figure:
        figure.subplots().set_title("1.23456 is a text")
        text = svg_of(figure).decode()
    assert "Date" not in text
    assert "1.23456 is a text" in text
    assert INK in text
    assert "prefers-color-scheme: dark" in text
    addresses = re.findall(r'(\S*?)="(https?:[^"]*)"', text)
    assert addresses
    assert all(name.startswith("xmlns") for name, _ in addresses)
    assert len(re.findall("https?:", text)) == len(addresses)

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.errors import UsageError
from compression.yaml_lines import YamlDocument

TEXT = """name: x
steps:
  - hard: {part: decoder}
  - cluster:
      part: decoder
      clusters: 16
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), 1),
        (("steps",), 2),
        (("steps", 0), 3),
        (("steps", 0, "hard", "sparsity"), 3),
        (("steps", 1, "cluster", "clusters"), 6),
        (("steps", 7), 2),
        (("nothing", "here"), 1),
    ],
)
def test_a_mistake_is_named_with_the_line_nearest_to_it(place: tuple[str | int, ...], line: int) -> None:
    assert str(YamlDocument(TEXT, "r.yaml").error(place, "wrong")) == f"r.yaml, line {line}: wrong"


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"r\.yaml, line 3: 'a' is there twice"):
        YamlDocument("b:\n  a: 1\n  a: 2\n", "r.yaml")


@pytest.mark.parametrize("key", ["on", "80", "~", "2026-01-01"])
def test_a_key_that_yaml_makes_something_else_of_is_refused_unless_it_is_quoted(key: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml, line 2: .* put it in quotes"):
        YamlDocument(f"a: 1\n? {key}\n: 2\n", "r.yaml")
    assert YamlDocument(f"a: 1\n? '{key}'\n: 2\n", "r.yaml").value == {"a": 1, key: 2}


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\tx: 1", "!!python/object/apply:os.system [ls]"])
def test_what_is_not_plain_yaml_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml"):
        YamlDocument(text, "r.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("b: 1\nsteps: &a [*a]\n", 2),
        ("steps: &a\n  - hard: {part: decoder}\n  - *a\n", 3),
        ("a: &a\n  b: [{c: *a}]\n", 2),
        ("a: &a {? *a : 1}\n", 1),
        ("- &a\n  b: 1\n  <<: *a\n", 3),
    ],
)
def test_an_alias_of_what_it_stands_in_is_refused(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=rf"r\.yaml, line {line}: alias 'a' stands in what it is an alias of"):
        YamlDocument(text, "r.yaml")


def test_an_alias_beside_its_anchor_is_what_the_anchor_names() -> None:
    assert YamlDocument("a: &a [1, {b: 2}]\nc: [*a, *a]\n", "r.yaml").value["c"] == [[1, {"b": 2}]] * 2


@pytest.mark.parametrize("item", ["[{0}, {0}, {0}]", "{{x: {0}, y: {0}, z: {0}}}", "{{<<: [{0}, {0}, {0}]}}"])
def test_aliases_that_stand_for_too_many_values_are_refused(item: str) -> None:
    lines = ["v0: &v0 {x: 1}", *(f"v{n}: &v{n} {item.format(f'*v{n - 1}')}" for n in range(1, 40))]
    with pytest.raises(UsageError, match=r"r\.yaml, line 1[01]: more than 100,000 values"):
        YamlDocument("\n".join(lines), "r.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "{a: " * 5000,
        "\n".join(" " * depth + "a:" for depth in range(400)),
        "\n".join(["- &v0 [1]", *(f"- &v{n} [*v{n - 1}]" for n in range(1, 300))]),
    ],
)
def test_what_is_too_deep_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml, line \d+: more than 64 lists and mappings within each other"):
        YamlDocument(text, "r.yaml")


def test_what_is_not_too_deep_is_read() -> None:
    value: object = 1
    for _ in range(64):
        value = [value]
    assert YamlDocument(str(value), "r.yaml").value == value
    with pytest.raises(UsageError, match="more than 64"):
        YamlDocument(f"[{value}]", "r.yaml")


@pytest.mark.parametrize(
    "value", ["2026-13-45", "1" * 5000, "!!bool x", "!!int ''", "!!timestamp x", "1" + ":1" * 200 + ".5"]
)
def test_a_value_that_only_looks_like_one_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match=r"r\.yaml: a value can't be read"):
        YamlDocument(f"a: {value}\n", "r.yaml")


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_usage_error(text: str) -> None:
    try:
        document = YamlDocument(text, "r.yaml")
    except UsageError:
        return
    assert "line" in str(document.error(("a", 0), "wrong"))


def test_a_file_that_is_missing_or_binary_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        YamlDocument.read(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        YamlDocument.read(tmp_path / "binary.yaml")

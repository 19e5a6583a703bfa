"""Glob patterns: what they match, which folders they enter, and how they are told from plain names."""

from __future__ import annotations

import glob
import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.archive.sources.patterns import Pattern, split_pattern
from caption_core.errors import UsageError
from tests.builders import write_file
from tests.s3_server import S3Server


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.jpg", "a.jpg", True),
        ("*.jpg", "sub/a.jpg", False),
        ("*.jpg", "a.JPG", False),
        ("**/*.jpg", "a.jpg", True),
        ("**/*.jpg", "x/y/a.jpg", True),
        ("**", "x/y/a.jpg", True),
        ("**/**/**", "a.jpg", True),
        ("2019-*/**/*.jpg", "2019-05/a.jpg", True),
        ("2019-*/**/*.jpg", "2019-05/x/y/a.jpg", True),
        ("2019-*/**/*.jpg", "2018-05/a.jpg", False),
        ("2019-*/**", "2019-05/a.jpg", True),
        ("2019-*/**", "2019-05", False),
        ("2019-*/", "2019-05/x/a.jpg", True),
        ("2019-*", "2019-05/a.jpg", False),
        ("a/**/b/**/c", "a/b/c", True),
        ("a/**/b/**/c", "a/x/b/y/z/c", True),
        ("a/**/b/**/c", "a/x/y/c", False),
        ("?.jpg", "\u017c.jpg", True),
        ("?.jpg", "/.jpg", False),
        ("[a-c][!x].jpg", "by.jpg", True),
        ("[a-c][!x].jpg", "bx.jpg", False),
        ("[*].jpg", "*.jpg", True),
        ("[*].jpg", "a.jpg", False),
        ("[a", "[a", True),
        ("a**b", "axxb", True),
        ("a**b", "a/b", False),
        ("*", "new\nline", True),
        ("a.jpg", "aXjpg", False),
        ("(a|b)+{1}", "(a|b)+{1}", True),
    ],
)
def test_what_fits(pattern: str, path: str, fits: bool) -> None:
    assert Pattern(pattern).matches(path) is fits


def paths(names: tuple[str, ...], depth: int) -> Iterator[str]:
    for length in range(1, depth + 1):
        yield from map("/".join, itertools.product(names, repeat=length))


FOLDERS = ["", *(f"{path}/" for path in paths(("a", "b", "ab"), 3))]
FILES = [folder + name for folder in FOLDERS for name in ("x", "ax", "b1")]
PATTERNS = st.lists(st.sampled_from(["*", "**", "a", "b", "?", "[ab]", "[!a]*", "a*", "*b", "ax", "?1"]), min_size=1)


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        for file in FILES:
            write_file(Path(folder) / file, b"")
        yield Path(folder)


@settings(max_examples=150, deadline=None)
@given(parts=PATTERNS.map(lambda parts: parts[:5]))
def test_patterns_mean_what_pythons_glob_means(tree: Path, parts: list[str]) -> None:
    pattern = Pattern("/".join(parts))
    found = set(glob.glob("/".join(parts), root_dir=tree, recursive=True))  # noqa: PTH207  # as a shell has it
    assert {file for file in FILES if pattern.matches(file)} == found & set(FILES)


@settings(max_examples=150, deadline=None)
@given(PATTERNS.map(lambda parts: parts[:5]))
def test_exactly_the_folders_that_may_hold_something_are_entered(parts: list[str]) -> None:
    pattern = Pattern("/".join(parts))
    for folder in FOLDERS[1:13]:
        below = [file for file in FILES if file.startswith(folder)]
        if any(map(pattern.matches, below)):
            assert all(pattern.may_hold(str(parent)) for parent in PurePosixPath(below[0]).parents if parent.name)
    if "**" not in parts:
        assert not any(pattern.may_hold(folder[:-1]) for folder in FOLDERS if folder.count("/") >= len(parts))


def test_many_stars_cost_no_more_than_their_number() -> None:
    assert not Pattern("**/" * 50 + "b").matches("a/" * 200 + "a")
    assert not Pattern("*a" * 50 + "b").matches("a" * 200)


@pytest.mark.parametrize("pattern", ["", "*/../x", "./*", "a/.."])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(UsageError, match="not a pattern"):
        Pattern(pattern)


@pytest.mark.parametrize(
    ("location", "base", "pattern"),
    [
        ("photos/2019-*/**/*.jpg", "photos", "2019-*/**/*.jpg"),
        ("photos/a/b?.jpg", "photos/a", "b?.jpg"),
        ("/data/[ab]/x", "/data", "[ab]/x"),
        ("/*.jpg", "/", "*.jpg"),
        ("*.jpg", ".", "*.jpg"),
        ("**", ".", "**"),
        ("../photos/*/", "../photos", "*/"),
        ("photos", "photos", None),
        ("photos/2019/", "photos/2019/", None),
        ("s3://bucket/photos", "s3://bucket/photos", None),
        ("s3://bucket", "s3://bucket", None),
    ],
)
def test_a_location_is_split_at_the_first_part_with_a_special_character(
    location: str, base: str, pattern: str | None
) -> None:
    assert split_pattern(location) == (base, pattern)


def test_what_exists_is_no_pattern(tmp_path: Path) -> None:
    for name in ("photos [2019]", "what?", "*"):
        write_file(tmp_path / name / "a.jpg", b"x")
        assert split_pattern(str(tmp_path / name)) == (str(tmp_path / name), None)
    assert split_pattern(str(tmp_path / "what?" / "*.jpg")) == (str(tmp_path), "what?/*.jpg")
    (tmp_path / "dangling*").symlink_to("nowhere")
    assert split_pattern(str(tmp_path / "dangling*"))[1] is None


def test_a_prefix_and_a_pattern(s3: S3Server) -> None:
    s3.put("photos [2019]/a.jpg", b"x")
    assert split_pattern(f"{s3.address}/photos [2019]") == (f"{s3.address}/photos [2019]", None)
    assert split_pattern(f"{s3.address}/photos/*/x?.jpg") == (f"{s3.address}/photos", "*/x?.jpg")
    assert split_pattern(f"{s3.address}/*.jpg") == (s3.address, "*.jpg")


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://buck*/a", "can't stand for a bucket"),
        ("s3://*", "can't stand for a bucket"),
        ("photos/*/../x", "not a pattern"),
        ("s3://key:topsecret@bucket/*.jpg", "no keys"),
    ],
)
def test_patterns_that_cannot_be(location: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        split_pattern(location)
    assert "topsecret" not in str(caught.value)

"""YAML whose mistakes are named with their line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from caption_core.errors import UsageError

Place = Sequence[str | int]
"""Keys and positions that lead to a value, from the document's top."""

_TEXT_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class YamlDocument:
    """A YAML file's value, and where each part of it stands.

    Only plain data is read: no tags, so nothing is ever built but numbers, texts, lists and mappings.

    Args:
        text: the content.
        name: what messages call the file.

    Raises:
        UsageError: it is not YAML, or a mapping has a key twice or one that is no text.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.value: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UsageError(f"{name}, line {line}: {error.problem}") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{name}: not YAML: {error}") from error
        self._check_keys(self._root)

    @classmethod
    def read(cls, path: Path) -> YamlDocument:
        """Read a file; raises `UsageError` where it can't be read."""
        try:
            return cls(path.read_text(encoding="utf-8"), path.name)
        except (OSError, UnicodeDecodeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UsageError(f"{path}: can't be read: {cause}") from error

    def error(self, place: Place, message: str) -> UsageError:
        """A mistake at `place`, or at the nearest place above it that the file has."""
        return UsageError(f"{self.name}, line {self._line(place)}: {message}")

    def _line(self, place: Place) -> int:
        node, line = self._root, 1
        for key in place:
            node, line = _below(node, key, line)
            if node is None:
                break
        return line

    def _check_keys(self, node: yaml.Node | None) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if mistake := _mistake_of_key(key, seen):
                    raise UsageError(f"{self.name}, line {key.start_mark.line + 1}: {mistake}")
                seen.add(key.value)
                self._check_keys(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                self._check_keys(value)


def _mistake_of_key(key: yaml.Node, seen: Collection[str]) -> str | None:
    if key.tag not in _TEXT_KEYS:  # YAML makes True of a variant that is called on
        return f"{key.value!r} is not read as text, which a name has to be: put it in quotes"
    return f"{key.value!r} is there twice" if key.value in seen else None


def _below(node: yaml.Node | None, key: str | int, line: int) -> tuple[yaml.Node | None, int]:
    """The node at `key` of a node, and its line; None and the last line where there is none."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return value, name.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key].start_mark.line + 1
    return None, line

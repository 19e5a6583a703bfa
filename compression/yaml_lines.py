"""YAML whose mistakes are named with their line."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from caption_core.errors import UsageError

Place = Sequence[str | int]
"""Keys and positions that lead to a value, from the document's top."""

_TEXT_KEYS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")

# With every alias written out. The largest study that comes along has some hundred values, six levels deep;
# what reads a document calls itself for every level.
_MOST_VALUES, _MOST_LEVELS = 100_000, 64


class YamlDocument:
    """A YAML file's value, and where each part of it stands.

    Only plain data is read: no tags, so nothing is ever built but numbers, texts, lists and mappings.

    Args:
        text: the content.
        name: what messages call the file.

    Raises:
        UsageError: it is not YAML, has more values or levels than any recipe needs, or an alias of what it stands in,
            or a mapping has a key twice or one that is no text.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        try:
            _check_extent(text)
            self._root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.value: Any = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise UsageError(f"{name}, line {line}: {error.problem}") from error
        except yaml.YAMLError as error:
            raise UsageError(f"{name}: not YAML: {error}") from error
        except (ValueError, ArithmeticError, LookupError, AttributeError) as error:  # what looks like a date, say
            raise UsageError(f"{name}: a value can't be read: {error}") from error
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


@dataclass(slots=True)
class _Extent:
    """How much a value holds, with every alias in it written out.

    Attributes:
        anchor: its name for aliases, if it has one.
        values: itself, and all within it.
        levels: lists and mappings one within another, itself among them.
    """

    anchor: str | None = None
    values: int = 1
    levels: int = 0

    def take(self, inner: _Extent) -> None:
        """Something more stands in it."""
        self.values += inner.values
        self.levels = max(self.levels, inner.levels + 1)


def _check_extent(text: str) -> None:
    """See to it that a document ends: few lines of aliases can stand for more values than there is time for.

    Raises:
        yaml.MarkedYAMLError: it is too large or too deep, it has an alias of what it stands in, or is no YAML.
    """
    open_ones, anchored = [_Extent()], dict[str, _Extent]()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_ones.append(_Extent(event.anchor, levels=1))
        elif isinstance(event, (yaml.CollectionEndEvent, yaml.ScalarEvent, yaml.AliasEvent)):
            inner = open_ones.pop() if isinstance(event, yaml.CollectionEndEvent) else _single(event, anchored)
            if inner.anchor is not None:
                anchored[inner.anchor] = inner
            open_ones[-1].take(inner)
        if mistake := _mistake_of(event, open_ones):
            raise yaml.MarkedYAMLError(problem=mistake, problem_mark=event.start_mark)


def _single(event: yaml.NodeEvent, anchored: Mapping[str, _Extent]) -> _Extent:
    """A plain value, or what an alias stands for; an alias of nothing is refused where the document is read."""
    if isinstance(event, yaml.AliasEvent) and event.anchor in anchored:
        named = anchored[event.anchor]
        return _Extent(None, named.values, named.levels)
    return _Extent(None if isinstance(event, yaml.AliasEvent) else event.anchor)


def _mistake_of(event: yaml.Event, open_ones: Sequence[_Extent]) -> str | None:
    if isinstance(event, yaml.AliasEvent) and any(one.anchor == event.anchor for one in open_ones):
        return f"alias {event.anchor!r} stands in what it is an alias of"
    if len(open_ones) - 2 + open_ones[-1].levels > _MOST_LEVELS:  # the first is the document
        return f"more than {_MOST_LEVELS} lists and mappings within each other"
    if sum(one.values for one in open_ones) > _MOST_VALUES:
        return f"more than {_MOST_VALUES:,} values, with every alias written out"
    return None


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

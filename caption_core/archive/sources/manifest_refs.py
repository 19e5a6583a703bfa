"""From rows of a manifest to references: vectorized for the paths that nearly all manifests consist of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from caption_core.archive.refs import REF_SCHEMA
from caption_core.archive.sources.archive_files import file_name, file_uri
from caption_core.archive.sources.file_names import name_to_text
from caption_core.archive.sources.manifest_locator import MARK, Locator
from caption_core.archive.sources.manifest_paths import WEB_SCHEMES, PathRules, path_text, without_credentials
from caption_core.archive.sources.manifest_rows import NO_PATH, RowChunk
from caption_core.archive.sources.percent_encoding import quote_texts
from caption_core.archive.sources.text_columns import null_where_empty
from caption_core.archive.storage import BUCKET_SCHEMES, REMOTE_SCHEMES, is_remote
from caption_core.errors import ImageError
from caption_core.records import ErrorKind

_TEXT = pa.large_string()

# Plain paths and addresses, as bytes: those whose URI is a matter of percent signs and of a prefix. They hold nothing
# that JSON or the text of a file's name writes with backslashes, no component of a path begins with a dot, and no
# address names a user. Nearly all manifests consist of them.
_CHARACTER = r'[^\x00-\x1f\x7f"\\]'
_COMPONENT = r'[^\x00-\x20\x7f"\\/:.!][^\x00-\x1f\x7f"\\/:]*'
_RELATIVE = f"{_COMPONENT}(?:/{_COMPONENT})*"
_WITH_PORTS = [scheme for scheme in (*WEB_SCHEMES, *REMOTE_SCHEMES) if scheme not in BUCKET_SCHEMES]
_HOST = (
    rf"(?:(?:{'|'.join(BUCKET_SCHEMES)})://[A-Za-z0-9._-]+|(?:{'|'.join(_WITH_PORTS)})://[A-Za-z0-9._-]+(?::[0-9]+)?)"
)
_ADDRESS = f"{_HOST}/{_CHARACTER}*"
_PLAIN = f"^(?:{_ADDRESS}|/?{_RELATIVE})$"
_PLAIN_IN_CLOSED = f"^{_RELATIVE}$"


@dataclass(frozen=True, slots=True)
class RefMaker:
    """Makes references.

    Args:
        rules: for the paths.
        location: of the manifest.
        unit: what its rows are numbered by: "line" or "row".
        any_bytes: whether bytes that aren't UTF-8 are part of files' names.
        keep_rows: whether references must lead back to their rows.
    """

    rules: PathRules
    location: str
    unit: str
    any_bytes: bool
    keep_rows: bool

    def refs(self, chunk: RowChunk) -> pa.RecordBatch:
        """One reference a row."""
        plain = _plain(chunk.paths, is_closed=self.rules.is_closed)
        columns = self._plain_columns(chunk, _texts(chunk.paths, plain))
        if not plain.all():
            columns = self._with_others(columns, chunk, np.flatnonzero(~plain))
        ids, uris, locators = columns
        if chunk.ids is not None:
            ids = pc.coalesce(null_where_empty(chunk.ids), ids)
        sizes, sources = np.full(len(plain), -1, np.int64), np.zeros(len(plain), np.int32)
        return pa.RecordBatch.from_arrays([ids, uris, pa.array(sizes), locators, pa.array(sources)], schema=REF_SCHEMA)

    def _plain_columns(self, chunk: RowChunk, texts: pa.Array) -> list[pa.Array]:
        """Ids, URIs and locators; of no use where a row isn't plain."""
        return [texts, self._plain_uris(texts), self._plain_locators(chunk, texts)]

    def _plain_uris(self, texts: pa.Array) -> pa.Array:
        # A plain path holds no colon.
        is_address = pc.match_substring(texts, "://")
        if pc.all(is_address).as_py():
            return texts
        is_absolute = pc.starts_with(texts, "/")
        base = _text(self.rules.base_uri.removesuffix("/") + "/")
        prefixes = pc.if_else(is_address, _text(""), pc.if_else(is_absolute, _text("file://"), base))
        # Addresses and keys stay as they are written.
        is_file = is_absolute if is_remote(self.rules.base) else pc.invert(is_address)
        quoted = quote_texts(pc.if_else(is_file, texts, _text("")))
        return _join(prefixes, pc.if_else(is_file, quoted, texts))

    def _plain_locators(self, chunk: RowChunk, texts: pa.Array) -> pa.Array:
        if self.keep_rows:
            return _join(_text(MARK + '{"row":'), chunk.numbers.cast(_TEXT), _text(',"path":"'), texts, _text('"}'))
        if chunk.carried is not None:
            values = pc.fill_null(chunk.carried, "{}")
            return _join(_text(MARK + '{"carried":'), values, _text(',"path":"'), texts, _text('"}'))
        return texts

    def _with_others(self, columns: list[pa.Array], chunk: RowChunk, others: NDArray[np.int64]) -> list[pa.Array]:
        mask = np.zeros(len(chunk.paths), bool)
        mask[others] = True
        values = zip(*self._refs_of(chunk, others), strict=True)
        return [
            pc.replace_with_mask(column, pa.array(mask), pa.array(its_values, _TEXT))
            for column, its_values in zip(columns, values, strict=True)
        ]

    def _refs_of(self, chunk: RowChunk, others: NDArray[np.int64]) -> Iterator[tuple[str, str, str]]:
        """Id, URI and locator of rows that aren't plain, one by one."""
        indices = pa.array(others)
        numbers, paths = chunk.numbers.take(indices).to_pylist(), chunk.paths.take(indices).to_pylist()
        carried = [None] * len(others) if chunk.carried is None else chunk.carried.take(indices).to_pylist()
        for index, number, path, values in zip(others.tolist(), numbers, paths, carried, strict=True):
            row = number if self.keep_rows else None
            locator = Locator(None, None, row, json.loads(values) if values else {})
            yield self._ref(path, chunk.faults.get(index, NO_PATH), number, locator)

    def _ref(self, path: bytes | None, fault: str, number: int, locator: Locator) -> tuple[str, str, str]:
        shown = ""
        try:
            if path is None or not path.strip():
                raise ImageError(ErrorKind.BAD_REFERENCE, fault)
            written = path_text(path, any_bytes=self.any_bytes)
            shown = without_credentials(written)
            uri = self.rules.resolve(written).uri
        except ImageError as error:
            fault_in_row = ImageError(error.kind, f"{self.unit} {number}: {error}")
            mark = f"#{self.unit}={number}"
            located = str(replace(locator, fault=fault_in_row))
            return shown or self._name() + mark, shown or file_uri(self.location) + mark, located
        return written, uri, str(replace(locator, path=written))

    def _name(self) -> str:
        return name_to_text(os.fsencode(file_name(self.location)))


def _plain(paths: pa.Array, *, is_closed: bool) -> NDArray[np.bool_]:
    matches = pc.match_substring_regex(paths, _PLAIN_IN_CLOSED if is_closed else _PLAIN)
    plain: NDArray[np.bool_] = pc.fill_null(matches, False).to_numpy(zero_copy_only=False)
    try:
        _texts(paths, plain)
    except pa.ArrowInvalid:
        values = zip(plain, paths.to_pylist(), strict=True)
        return np.array([matched and _is_utf8(path) for matched, path in values], bool)
    return plain


def _texts(paths: pa.Array, plain: NDArray[np.bool_]) -> pa.Array:
    """The plain paths as text, and nothing in place of the others."""
    if not plain.all():
        paths = pc.if_else(pa.array(plain), paths, pa.scalar(b"", pa.large_binary()))
    return paths.cast(_TEXT)


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text(value: str) -> pa.Scalar:
    return pa.scalar(value, _TEXT)


def _join(*parts: pa.Array | pa.Scalar) -> pa.Array:
    return pc.binary_join_element_wise(*parts, _text(""))

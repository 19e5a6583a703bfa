"""Manifests: files that list images by their paths and addresses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from caption_core.archive.sources.archive_files import open_archive_file
from caption_core.archive.sources.carry import carried_schema, with_columns_that_are_there
from caption_core.archive.sources.column_choice import check_id_column, path_field
from caption_core.archive.sources.locations import LocationReader
from caption_core.archive.sources.manifest_csv import CsvTable
from caption_core.archive.sources.manifest_jsonl import JsonlTable
from caption_core.archive.sources.manifest_locator import Locator
from caption_core.archive.sources.manifest_parquet import ParquetTable
from caption_core.archive.sources.manifest_paths import PathRules
from caption_core.archive.sources.manifest_refs import RefMaker
from caption_core.archive.sources.manifest_rows import NO_PATH, ManifestTable, WantedColumns
from caption_core.archive.sources.manifest_txt import TxtTable
from caption_core.archive.sources.options import InputOptions
from caption_core.archive.sources.parquet_carry import CarriedColumns
from caption_core.archive.sources.parquet_file import read_layout
from caption_core.archive.sources.source import ImageReader, SourceImage, no_beat
from caption_core.archive.storage import is_remote
from caption_core.errors import CapstanError, ImageError, UsageError
from caption_core.records import ErrorKind, ImageRef

_PARQUET = ".parquet"
_TEXT_EXTENSIONS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")
_COMPRESSED = ".gz"

MANIFEST_EXTENSIONS = (_PARQUET, *_TEXT_EXTENSIONS, *(extension + _COMPRESSED for extension in _TEXT_EXTENSIONS))


@dataclass(frozen=True, slots=True)
class Manifest:
    """The images that a manifest lists, a row an image, in the order of the rows.

    An image's id is its value in the id column that the user names; without one, or where that is empty, its path or
    address as written. A row that names no image is listed too, as `list.csv#line=17` (or `list.parquet#row=17`).

    Args:
        location: of the manifest: an absolute path, or an address.
        options: as the user gave them.
        wanted: the columns that are read.
        schema: of the carried columns.
        rules: for paths.
        signature: of a Parquet file with carried columns as it was listed; empty otherwise.
        needs_base: whether its images lie, as far as its first rows tell, in the folder that its paths start from.
    """

    location: str
    options: InputOptions
    wanted: WantedColumns
    schema: pa.Schema
    rules: PathRules
    signature: str = ""
    needs_base: bool = False

    @classmethod
    def at(cls, location: str, options: InputOptions) -> Manifest:
        """The source of a manifest that must exist; its beginning is read.

        Args:
            location: an absolute path, or an address such as s3://bucket/list.csv.
            options: all but the image column count.

        Raises:
            UsageError: the file can't be read, or is no manifest, or lacks a column.
        """
        table = _table(location)
        columns = table.columns()
        options = with_columns_that_are_there(options, columns)
        path = "" if isinstance(table, TxtTable) else path_field(location, columns, options.path_column).name
        check_id_column(location, columns, options.id_column)
        schema = carried_schema(location, columns, options.carry)
        wanted = WantedColumns(path, options.id_column, tuple(column for column, _ in options.carry))
        signature = read_layout(location).signature if isinstance(table, ParquetTable) and options.carry else ""
        manifest = cls(location, options, wanted, schema, _rules(location, options), signature)
        return replace(manifest, needs_base=manifest._starts_in_base())

    def list_refs(self) -> Iterator[pa.RecordBatch]:
        """See `ImageSource`; looks at no image."""
        table = _table(self.location)
        make = RefMaker(
            self.rules,
            self.location,
            unit="row" if isinstance(table, ParquetTable) else "line",
            any_bytes=isinstance(table, TxtTable),
            keep_rows=bool(self.signature),
        )
        return (make.refs(chunk) for chunk in table.chunks(self.wanted))

    def carried(self) -> pa.Schema:
        """See `ImageSource`: text for all but Parquet files; JSON values that aren't text come as JSON."""
        return self.schema

    def carried_in(self, ref: ImageRef) -> Mapping[str, Any]:
        """See `CarryingRefs`: all for all but Parquet files, whose values are read with the images."""
        return self.values_in(Locator.parse(ref.locator))

    def values_in(self, locator: Locator) -> Mapping[str, Any]:
        """The carried values that a locator holds, by their names in the output."""
        return {name: locator.carried.get(column) for column, name in self.options.carry}

    def open_reader(self) -> ImageReader:
        """See `ImageSource`."""
        if self.needs_base and not Path(self.rules.base).is_dir():
            raise CapstanError(
                f"{self.rules.base}: this machine ({os.uname().nodename}) doesn't see the folder of the images in "
                f"{self.location}; a cluster's machines must share it under the same path"
            )
        if self.signature:
            open_archive_file(self.location).close()
        return _ManifestReader(self)

    def version(self) -> str:
        """See `ImageSource`: of carried columns that are read by their row."""
        return self.signature

    def locations(self) -> Sequence[str]:
        """See `ImageSource`: the manifest alone, since of folders it reads no more than the files it names."""
        return [self.location]

    def _starts_in_base(self) -> bool:
        if is_remote(self.rules.base):
            return False
        first = next(self.list_refs(), None)
        return first is not None and bool(pc.any(pc.starts_with(first.column("uri"), self.rules.base_uri)).as_py())


class _ManifestReader:
    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        options = manifest.options
        # Not even a link may lead out of a root that was named.
        self._images = LocationReader(
            replace(options, follow_links=options.follow_links and not manifest.rules.is_closed)
        )
        self._from_file = CarriedColumns(
            manifest.location, manifest.signature, manifest.options.carry if manifest.signature else ()
        )

    def begin(self, refs: Sequence[ImageRef], *, beat: Callable[[], None] = no_beat) -> None:
        """See `ImageReader`."""
        if self._manifest.signature:
            rows = (Locator.parse(ref.locator).row for ref in refs)
            self._from_file.announce((row for row in rows if row is not None), beat)

    def read(self, ref: ImageRef, max_bytes: int) -> SourceImage:
        """See `ImageReader`."""
        locator = Locator.parse(ref.locator)
        carried: Mapping[str, Any] = {}
        try:
            carried = self._carried(locator)
            return SourceImage(self._read(locator, max_bytes), carried)
        except ImageError as error:
            return SourceImage(error, carried)

    def close(self) -> None:
        """See `ImageReader`."""
        self._images.close()
        self._from_file.close()

    def _read(self, locator: Locator, max_bytes: int) -> bytes:
        if locator.fault is not None or locator.path is None:
            raise locator.fault or ImageError(ErrorKind.BAD_REFERENCE, NO_PATH)
        target = self._manifest.rules.resolve(locator.path)
        return self._images.read(target.uri, max_bytes, within=target.within)

    def _carried(self, locator: Locator) -> Mapping[str, Any]:
        if locator.row is not None:
            return self._from_file.values(locator.row)
        return self._manifest.values_in(locator)


def _table(location: str) -> ManifestTable:
    name = location.lower()
    if name.endswith(_PARQUET):
        return ParquetTable(location)
    kind = name.removesuffix(_COMPRESSED).rpartition(".")[2]
    if kind in ("csv", "tsv"):
        return CsvTable(location, "," if kind == "csv" else "\t")
    if kind in ("jsonl", "ndjson"):
        return JsonlTable(location)
    if kind == "txt":
        return TxtTable(location)
    raise UsageError(f"{location}: no manifest; they end in {' '.join(MANIFEST_EXTENSIONS)}")


def _rules(location: str, options: InputOptions) -> PathRules:
    if options.image_root is not None:
        if not options.image_root.is_dir():
            raise UsageError(f"{options.image_root}: no such folder of images")
        return PathRules(str(options.image_root.resolve()), is_closed=True)
    if is_remote(location):
        return PathRules(location.rpartition("/")[0])
    return PathRules(str(Path(location).resolve().parent))

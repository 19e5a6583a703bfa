"""Reading reference captions in each of the forms that the field keeps them in."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import chain
from pathlib import Path

import pyarrow as pa

from caption_core.errors import UsageError
from caption_core.metrics.json_files import load_json, take, take_id
from caption_core.metrics.parquet_files import as_text, open_dataset, pick_column, read_batches
from caption_core.metrics.split_files import read_split
from caption_core.metrics.text_batches import TEXT_SCHEMA, batch_texts

_LINE_BYTES = 80  # a name of Flickr8k and a caption of ten words

# Flickr8k's, and the one of Flickr30k, whose fields may be parted by '|' in place of commas.
_CSV_HEADERS = (["image", "caption"], ["image_name", "comment_number", "comment"])

_IMAGE_COLUMNS = ["image_id", "image", "file_name", "filename"]


class ReferenceForm(str, Enum):
    """How a file holds references."""

    FLICKR_TOKENS = "Flickr token file"  # NAME#k<TAB>caption
    KAGGLE_CSV = "Kaggle CSV"  # header image,caption or image_name| comment_number| comment
    COCO_ANNOTATIONS = "COCO annotations"  # {"images": [...], "annotations": [{"image_id", "caption"}]}
    KARPATHY_JSON = "Karpathy JSON"  # {"images": [{"filename", "split", "sentences": [{"raw"}]}]}
    PARQUET = "Parquet"  # columns image_id and caption, the latter text or a list of texts, and maybe split


class ReferenceFile:
    """References of images, in one of the forms of `ReferenceForm`, told by content.

    The JSON forms are held in memory as a whole; the others are streamed.

    Args:
        path: of the file, or for Parquet of a folder or URI.

    Raises:
        UsageError: there is nothing there, or it has none of these forms.
    """

    def __init__(self, path: str) -> None:
        """Find out the form; JSON is read at once."""
        self.path = path
        self._json = load_json(Path(path)) if path.endswith(".json") else None
        self.form = _json_form(self._json, path) if path.endswith(".json") else _file_form(path)

    def batches(self, *, numeric_ids: bool) -> Iterator[pa.RecordBatch]:
        """Stream batches of `TEXT_SCHEMA`.

        Args:
            numeric_ids: name COCO images by their number instead of their file name.
        """
        match self.form:
            case ReferenceForm.PARQUET:
                return _parquet_references(self.path)
            case ReferenceForm.COCO_ANNOTATIONS:
                return batch_texts(_coco_rows(self._json, Path(self.path), numeric_ids))
            case ReferenceForm.KARPATHY_JSON:
                return batch_texts(_karpathy_rows(self._json, Path(self.path), numeric_ids))
            case ReferenceForm.KAGGLE_CSV:
                return batch_texts(_text_rows(Path(self.path), _kaggle_rows))
            case ReferenceForm.FLICKR_TOKENS:
                return batch_texts(_text_rows(Path(self.path), _token_rows))

    def approximate_rows(self) -> int:
        """About how many references there are; exact for Parquet with one a row."""
        match self.form:
            case ReferenceForm.PARQUET:
                return int(open_dataset(self.path).count_rows())
            case ReferenceForm.COCO_ANNOTATIONS:
                return len(take(self._json, "annotations", list, Path(self.path), "the file"))
            case ReferenceForm.KARPATHY_JSON:
                return 5 * len(take(self._json, "images", list, Path(self.path), "the file"))
            case ReferenceForm.KAGGLE_CSV | ReferenceForm.FLICKR_TOKENS:
                return Path(self.path).stat().st_size // _LINE_BYTES

    def split_ids(self, split: str, *, numeric_ids: bool) -> tuple[str, ...]:
        """The images of a split, each once and in the order of its file.

        Args:
            split: a file with one name a line; or the splits that a Karpathy JSON or a column `split` of a Parquet
                names so, several of them joined by `+`, as in `train+restval`.
            numeric_ids: as for `batches`.

        Raises:
            UsageError: there is neither.
        """
        if Path(split).is_file():
            return read_split(Path(split))
        if (known := self._images_by_split(numeric_ids=numeric_ids)) is None:
            raise UsageError(f"split {split}: no such file, and {self.path} names no splits")
        parts = split.split("+")
        if unknown := [part for part in parts if part not in known]:
            names = ", ".join(sorted(known))
            raise UsageError(f"split {unknown[0]}: neither a file nor a split of {self.path} ({names})")
        return tuple(dict.fromkeys(chain.from_iterable(known[part] for part in parts)))

    def _images_by_split(self, *, numeric_ids: bool) -> dict[str, list[str]] | None:
        match self.form:
            case ReferenceForm.KARPATHY_JSON:
                return _group_by_split(_karpathy_splits(self._json, Path(self.path), numeric_ids))
            case ReferenceForm.PARQUET if "split" in open_dataset(self.path).schema.names:
                return _group_by_split(_parquet_splits(self.path))
        return None


def _json_form(content: object, path: str) -> ReferenceForm:
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        return ReferenceForm.COCO_ANNOTATIONS
    images = content.get("images") if isinstance(content, dict) else None
    if isinstance(images, list) and images and isinstance(images[0], dict) and "sentences" in images[0]:
        return ReferenceForm.KARPATHY_JSON
    forms = "COCO annotations ('annotations') nor Karpathy's form ('images' with 'sentences')"
    raise UsageError(f"{path}: neither {forms}")


def _file_form(path: str) -> ReferenceForm:
    if "://" in path or path.endswith(".parquet") or Path(path).is_dir():
        return ReferenceForm.PARQUET
    try:
        with Path(path).open(encoding="utf-8") as file:
            first = file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from error
    if _csv_fields(first) in _CSV_HEADERS:
        return ReferenceForm.KAGGLE_CSV
    if "\t" in first and "#" in first.partition("\t")[0]:
        return ReferenceForm.FLICKR_TOKENS
    known = ", ".join(form.value for form in ReferenceForm)
    raise UsageError(f"{path}: not a file of references; known forms: {known}")


def _text_rows(
    path: Path, parse: Callable[[Path, Iterator[str]], Iterator[tuple[str, str]]]
) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from parse(path, file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: {error}") from error


def _csv_fields(header: str) -> list[str]:
    fields = header.split("|" if "|" in header else ",")
    return [field.strip().strip('"').lower() for field in fields]


def _kaggle_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    header = next(lines)
    fields = _csv_fields(header)
    if "|" in header:
        yield from _barred_rows(path, lines)
        return
    rows = csv.reader(chain([header], lines))
    next(rows)
    for row in rows:
        if not row:
            continue
        if len(row) != len(fields):
            raise UsageError(f"{path}: line {rows.line_num} has {len(row)} fields instead of {','.join(fields)}")
        yield row[0], row[-1]


def _barred_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Rows `NAME| k| caption` below the header; captions may hold quotation marks, which mean nothing here."""
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        # A row of the published file lacks its second bar: '2199200615.jpg| 4   A dog runs across the grass .'
        match = re.fullmatch(r"\s*([^|]+?)\s*\|\s*\d+\s*(?:\||\s)\s*(.*?)\s*", line)
        if match is None:
            raise UsageError(f"{path}: line {number} is not NAME| k| caption")
        yield match[1], match[2]


def _token_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        key, tab, caption = line.rstrip("\r\n").partition("\t")
        name, mark, _ = key.rpartition("#")
        if not (tab and mark and name):
            raise UsageError(f"{path}: line {number} is not NAME#k<TAB>caption")
        yield name, caption


def _coco_rows(content: object, path: Path, numeric_ids: bool) -> Iterator[tuple[str, str]]:
    names = {} if numeric_ids else _coco_file_names(content, path)
    for number, annotation in enumerate(take(content, "annotations", list, path, "the file")):
        place = f"annotation {number}"
        image_id = take_id(annotation, "image_id", path, place)
        yield names.get(image_id, image_id), take(annotation, "caption", str, path, place)


def _coco_file_names(content: object, path: Path) -> dict[str, str]:
    images = take(content, "images", list, path, "the file, whose captions are joined by file name,")
    places = ((image, f"image {number}") for number, image in enumerate(images))
    return {take_id(image, "id", path, place): take(image, "file_name", str, path, place) for image, place in places}


def _karpathy_images(content: object, path: Path, numeric_ids: bool) -> Iterator[tuple[str, object]]:
    """Each image's id and record."""
    for number, image in enumerate(take(content, "images", list, path, "the file")):
        key = "cocoid" if numeric_ids and isinstance(image, dict) and "cocoid" in image else "filename"
        yield take_id(image, key, path, f"image {number}"), image


def _karpathy_rows(content: object, path: Path, numeric_ids: bool) -> Iterator[tuple[str, str]]:
    for image_id, image in _karpathy_images(content, path, numeric_ids):
        for sentence in take(image, "sentences", list, path, f"image {image_id}"):
            yield image_id, take(sentence, "raw", str, path, f"image {image_id}")


def _karpathy_splits(content: object, path: Path, numeric_ids: bool) -> Iterator[tuple[str, str]]:
    """Each image's id and split."""
    for image_id, image in _karpathy_images(content, path, numeric_ids):
        yield image_id, take(image, "split", str, path, f"image {image_id}")


def _parquet_splits(path: str) -> Iterator[tuple[str, str | None]]:
    """Each row's image and split; an image may be in none."""
    dataset = open_dataset(path)
    image = pick_column(dataset, path, "image names", _IMAGE_COLUMNS)
    for batch in read_batches(dataset, path, [image, "split"]):
        yield from zip(*(as_text(batch.column(name)).to_pylist() for name in (image, "split")), strict=True)


def _group_by_split(pairs: Iterable[tuple[str, str | None]]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for image_id, split in pairs:
        if split is not None:
            groups.setdefault(split, []).append(image_id)
    return groups


def _parquet_references(path: str) -> Iterator[pa.RecordBatch]:
    dataset = open_dataset(path)
    image = pick_column(dataset, path, "image names", _IMAGE_COLUMNS)
    text = pick_column(dataset, path, "references", ["caption", "captions", "references", "sentences"])
    for batch in read_batches(dataset, path, [image, text]):
        ids, texts = as_text(batch.column(image)), batch.column(text)
        if _is_list(texts.type):
            ids, texts = ids.take(texts.value_parent_indices()), texts.flatten()
        texts = as_text(texts)
        if ids.null_count or texts.null_count:
            raise UsageError(f"{path}: a reference has no {image if ids.null_count else text}")
        yield pa.record_batch([ids, texts], schema=TEXT_SCHEMA)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))

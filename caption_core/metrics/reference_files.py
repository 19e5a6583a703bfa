"""Reading reference captions in each of the forms that the field keeps them in."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path

import pyarrow as pa

from caption_core.errors import UsageError
from caption_core.metrics.json_files import load_json, take, take_id
from caption_core.metrics.parquet_files import as_text, open_dataset, pick_column, read_batches
from caption_core.metrics.text_batches import TEXT_SCHEMA, batch_texts

_LINE_BYTES = 80  # a name of Flickr8k and a caption of ten words


class ReferenceForm(str, Enum):
    """How a file holds references."""

    FLICKR_TOKENS = "Flickr8k token file"  # NAME#k<TAB>caption
    KAGGLE_CSV = "Kaggle CSV"  # header image,caption
    COCO_ANNOTATIONS = "COCO annotations"  # {"images": [...], "annotations": [{"image_id", "caption"}]}
    KARPATHY_JSON = "Karpathy JSON"  # {"images": [{"filename", "split", "sentences": [{"raw"}]}]}
    PARQUET = "Parquet"  # columns image_id and caption, the latter text or a list of texts


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

    def split_ids(self, split: str, *, numeric_ids: bool) -> frozenset[str]:
        """The images of a split: of a file with one name a line, or of the split that a Karpathy JSON names so.

        Raises:
            UsageError: there is neither.
        """
        if Path(split).is_file():
            return _read_split_file(Path(split))
        if self.form is not ReferenceForm.KARPATHY_JSON:
            raise UsageError(f"--split {split}: no such file")
        return _karpathy_split(self._json, Path(self.path), split, numeric_ids=numeric_ids)


def _read_split_file(path: Path) -> frozenset[str]:
    try:
        names = frozenset(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--split {path}: {error}") from error
    if not names:
        raise UsageError(f"--split {path}: the file names no image")
    return names


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
    if first.replace('"', "").lower() == "image,caption":
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


def _kaggle_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    rows = csv.reader(lines)
    next(rows)
    for row in rows:
        if not row:
            continue
        if len(row) != 2:
            raise UsageError(f"{path}: line {rows.line_num} has {len(row)} fields instead of image,caption")
        yield row[0], row[1]


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


def _karpathy_split(content: object, path: Path, split: str, numeric_ids: bool) -> frozenset[str]:
    splits = {
        image_id: take(image, "split", str, path, f"image {image_id}")
        for image_id, image in _karpathy_images(content, path, numeric_ids)
    }
    if split not in splits.values():
        known = ", ".join(sorted(set(splits.values())))
        raise UsageError(f"--split {split}: neither a file nor a split of {path} ({known})")
    return frozenset(image_id for image_id, name in splits.items() if name == split)


def _parquet_references(path: str) -> Iterator[pa.RecordBatch]:
    dataset = open_dataset(path)
    image = pick_column(dataset, path, "image names", ["image_id", "image", "file_name", "filename"])
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

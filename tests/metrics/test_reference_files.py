from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from caption_core.errors import UsageError
from caption_core.metrics.reference_files import ReferenceFile, ReferenceForm

EXPECTED = [("a.jpg", "A dog , running ."), ("a.jpg", 'The "dog" runs'), ("b.jpg", "Two cats")]

KARPATHY = {
    "dataset": "x",
    "images": [
        {
            "filename": "a.jpg",
            "cocoid": 1,
            "split": "test",
            "sentences": [{"raw": text, "tokens": []} for _, text in EXPECTED[:2]],
        },
        {"filename": "b.jpg", "cocoid": 2, "split": "train", "sentences": [{"raw": EXPECTED[2][1]}]},
    ],
}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "annotations": [{"image_id": 1 if name == "a.jpg" else 2, "id": 9, "caption": text} for name, text in EXPECTED],
}


def rows(file: ReferenceFile, *, numeric_ids: bool = False) -> list[tuple[str, str]]:
    table = pa.Table.from_batches(list(file.batches(numeric_ids=numeric_ids)))
    return list(zip(table.column("image_id").to_pylist(), table.column("text").to_pylist(), strict=True))


def write(path: Path, form: ReferenceForm) -> str:
    match form:
        case ReferenceForm.FLICKR_TOKENS:
            path = path / "tokens.txt"
            path.write_text("".join(f"{name}#{i}\t{text}\n" for i, (name, text) in enumerate(EXPECTED)) + "\n")
        case ReferenceForm.KAGGLE_CSV:
            path = path / "captions.txt"
            quoted = (f'{name},"{text.replace(chr(34), chr(34) * 2)}"\n' for name, text in EXPECTED)
            path.write_text("image,caption\n" + "".join(quoted))
        case ReferenceForm.COCO_ANNOTATIONS:
            path = path / "coco.json"
            path.write_text(json.dumps(COCO))
        case ReferenceForm.KARPATHY_JSON:
            path = path / "karpathy.json"
            path.write_text(json.dumps(KARPATHY))
        case ReferenceForm.PARQUET:
            path = path / "references.parquet"
            names, texts = zip(*EXPECTED, strict=True)
            pq.write_table(pa.table({"image_id": names, "caption": texts}), path)
    return str(path)


@pytest.mark.parametrize("form", ReferenceForm)
def test_every_form_gives_the_same_references(form: ReferenceForm, tmp_path: Path) -> None:
    file = ReferenceFile(write(tmp_path, form))
    assert file.form is form
    assert rows(file) == EXPECTED


@pytest.mark.parametrize("form", ReferenceForm)
def test_the_size_is_told_roughly(form: ReferenceForm, tmp_path: Path) -> None:
    rows_told = ReferenceFile(write(tmp_path, form)).approximate_rows()
    assert 0 <= rows_told <= 10  # there are three; a size is for choosing how to divide the work
    if form in (ReferenceForm.PARQUET, ReferenceForm.COCO_ANNOTATIONS):
        assert rows_told == 3


@pytest.mark.parametrize("form", [ReferenceForm.COCO_ANNOTATIONS, ReferenceForm.KARPATHY_JSON])
def test_images_by_number(form: ReferenceForm, tmp_path: Path) -> None:
    found = rows(ReferenceFile(write(tmp_path, form)), numeric_ids=True)
    assert found == [("1" if name == "a.jpg" else "2", text) for name, text in EXPECTED]


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.large_list(pa.large_string())])
def test_parquet_with_a_list_of_references_a_row(kind: pa.DataType, tmp_path: Path) -> None:
    captions = pa.array([["A dog , running .", 'The "dog" runs'], [], ["Two cats"]], kind)
    table = pa.table({"filename": ["a.jpg", "none.jpg", "b.jpg"], "captions": captions})
    (tmp_path / "parts").mkdir()
    pq.write_table(table.slice(0, 2), tmp_path / "parts" / "0.parquet")
    pq.write_table(table.slice(2), tmp_path / "parts" / "1.parquet")
    assert rows(ReferenceFile(str(tmp_path / "parts"))) == EXPECTED


def test_an_unusual_csv(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes('"image","caption"\r\na.jpg,"one, two\r\nlines"\r\n\r\né.jpg,x\r\n'.encode())
    assert rows(ReferenceFile(str(path))) == [("a.jpg", "one, two\r\nlines"), ("é.jpg", "x")]


def test_the_csv_files_of_flickr30k(tmp_path: Path) -> None:
    barred = tmp_path / "results.csv"
    barred.write_text(
        "image_name| comment_number| comment\n"
        'a.jpg| 0| A dog , running .\na.jpg| 1| The "dog" runs\n\nb.jpg| 4   Two cats\n'
    )
    assert rows(ReferenceFile(str(barred))) == EXPECTED
    commas = tmp_path / "captions.txt"
    commas.write_text('image_name,comment_number,comment\na.jpg,0,"A dog , running ."\na.jpg,1,"The ""dog"" runs"\n')
    assert rows(ReferenceFile(str(commas))) == EXPECTED[:2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "", "not a file of references"),
        ("x.txt", "hello\n", "not a file of references; known forms: Flickr token file"),
        ("x.txt", "a.jpg#0\tok\na.jpg broken\n", "line 2 is not NAME#k<TAB>caption"),
        ("x.csv", "image,caption\na.jpg,one,two\n", "line 2 has 3 fields instead of image,caption"),
        ("x.csv", "image_name| comment_number| comment\na.jpg| 0| ok\na.jpg| x\n", r"line 3 is not NAME\| k\| caption"),
        ("x.json", "[]", "neither COCO annotations"),
        ("x.json", '{"images": []}', "neither COCO annotations"),
        ("x.json", '{"annotations": [{"image_id": 1}]}', "no proper 'images'"),
        ("x.json", '{"images": [{"id": 1}], "annotations": []}', "image 0 has no proper 'file_name'"),
        ("x.json", '{"images": [{"sentences": [], "x": 1}]}', "image 0 has no proper 'filename'"),
        ("x.json", '{"images": [{"sentences": [{"raw": 1}], "filename": "a"}]}', "image a has no proper 'raw'"),
    ],
)
def test_a_wrong_file_is_named_with_the_place(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        rows(ReferenceFile(str(tmp_path / name)))


def test_annotations_without_a_caption(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"annotations": [{"image_id": 1, "caption": "a"}, {"image_id": 1}]}')
    with pytest.raises(UsageError, match="annotation 1 has no proper 'caption'"):
        rows(ReferenceFile(str(tmp_path / "x.json")), numeric_ids=True)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"a.jpg#0\ta dog\n" + b"b.jpg#0\t\xff\n" * 10_000)
    with pytest.raises(UsageError, match=r"x\.txt"):
        rows(ReferenceFile(str(tmp_path / "x.txt")))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="absent"):
        ReferenceFile(str(tmp_path / "absent.txt"))


def test_splits(tmp_path: Path) -> None:
    file = ReferenceFile(write(tmp_path, ReferenceForm.KARPATHY_JSON))
    assert file.split_ids("test", numeric_ids=False) == ("a.jpg",)
    assert file.split_ids("train", numeric_ids=True) == ("2",)
    assert file.split_ids("train+test", numeric_ids=False) == ("b.jpg", "a.jpg")
    (tmp_path / "names.txt").write_text("b.jpg\n\n a.jpg \n")
    assert file.split_ids(str(tmp_path / "names.txt"), numeric_ids=False) == ("b.jpg", "a.jpg")
    with pytest.raises(UsageError, match=r"split dev: neither a file nor a split .*\(test, train\)"):
        file.split_ids("train+dev", numeric_ids=False)


def test_splits_of_parquet_are_a_column(tmp_path: Path) -> None:
    columns = {"image_id": ["a", "a", "b", "c"], "caption": ["w", "x", "y", "z"], "split": ["one", "one", "two", None]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    file = ReferenceFile(str(tmp_path / "x.parquet"))
    assert file.split_ids("two+one", numeric_ids=False) == ("b", "a")
    with pytest.raises(UsageError, match=r"split three: neither .*\(one, two\)"):
        file.split_ids("three", numeric_ids=False)


def test_splits_of_other_forms_are_files(tmp_path: Path) -> None:
    file = ReferenceFile(write(tmp_path, ReferenceForm.FLICKR_TOKENS))
    with pytest.raises(UsageError, match=r"split test: no such file, and .* names no splits"):
        file.split_ids("test", numeric_ids=False)
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UsageError, match="names no image"):
        file.split_ids(str(tmp_path / "empty.txt"), numeric_ids=False)

"""Which column is meant, and what is said where none is."""

from __future__ import annotations

import pyarrow as pa
import pytest

from caption_core.archive.sources.column_choice import PATH_COLUMNS, check_id_column, image_field, path_field
from caption_core.errors import UsageError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), STRUCT], ids=str)
def test_the_only_column_that_may_hold_images_is_it(kind: pa.DataType) -> None:
    columns = schema(id=pa.int64(), x=kind, caption=pa.string(), numbers=pa.struct([("bytes", pa.int8())]))
    assert image_field("f", columns, None).name == "x"


def test_one_of_several_must_be_named() -> None:
    columns = schema(photo=pa.binary(), thumbnail=STRUCT, url=pa.string())
    with pytest.raises(UsageError, match=r"f: which column holds the images\? Name one of photo, thumbnail$"):
        image_field("f", columns, None)
    assert image_field("f", columns, "thumbnail").name == "thumbnail"


def test_without_any_the_columns_are_listed() -> None:
    with pytest.raises(UsageError, match=r"f: no column of image bytes among url \(string\), n \(int64\)"):
        image_field("f", schema(url=pa.string(), n=pa.int64()), None)


def test_a_named_column_must_be_there_once_and_hold_images() -> None:
    with pytest.raises(UsageError, match=r"no column 'x' among y \(binary\)"):
        image_field("f", schema(y=pa.binary()), "x")
    with pytest.raises(UsageError, match="column 'x' holds string, no image bytes"):
        image_field("f", schema(x=pa.string()), "x")
    with pytest.raises(UsageError, match="2 columns are named 'x'"):
        image_field("f", pa.schema([("x", pa.binary()), ("x", pa.binary())]), "x")


def test_paths_are_found_by_name_in_any_case_and_by_the_order_of_the_names() -> None:
    assert path_field("f", schema(width=pa.int64(), Path=pa.string(), URL=pa.large_string()), None).name == "URL"
    for name in PATH_COLUMNS:
        assert path_field("f", schema(a=pa.string(), **{name.upper(): pa.string()}), None).name == name.upper()


def test_a_column_of_another_type_is_no_column_of_paths() -> None:
    assert path_field("f", schema(url=pa.int64(), path=pa.string()), None).name == "path"
    with pytest.raises(UsageError, match="column 'url' holds int64, no paths or addresses"):
        path_field("f", schema(url=pa.int64(), path=pa.string()), "url")


def test_without_a_column_of_paths_the_columns_are_listed() -> None:
    with pytest.raises(UsageError, match=r"f: which column holds paths or addresses\? There are a \(string\)$"):
        path_field("f", schema(a=pa.string()), None)


def test_not_thousands_of_columns_are_listed() -> None:
    columns = pa.schema([(f"c{index}", pa.int8()) for index in range(1000)])
    with pytest.raises(UsageError, match=r"c39 \(int8\) and 960 more"):
        path_field("f", columns, None)


def test_ids_must_be_values_that_can_be_text() -> None:
    columns = schema(a=pa.int64(), b=pa.list_(pa.string()))
    check_id_column("f", columns, None)
    check_id_column("f", columns, "a")
    with pytest.raises(UsageError, match=r"column 'b' holds list<.*>, which can't be ids"):
        check_id_column("f", columns, "b")
    with pytest.raises(UsageError, match="no column 'c'"):
        check_id_column("f", columns, "c")

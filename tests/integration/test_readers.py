"""The output folder as other tools read it: parts are rows, and all else is passed over."""

from __future__ import annotations

import logging
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.dataset as ds
import pytest

from caption_core.archive.outcomes import ImageOutcome, count_outcomes, outcomes_to_table
from caption_core.archive.output_folder import REPORT_FOLDER, SUCCESS, held_output_folder
from caption_core.archive.parts import PartFooter, write_part
from caption_core.archive.plan_files import write_plan
from caption_core.archive.refs import refs_to_batch
from caption_core.archive.run_record import begin_record, state_folder, write_record
from caption_core.archive.run_state import RunIdentity
from caption_core.archive.shards import ShardPlan
from caption_core.archive.storage import Storage
from caption_core.errors import ImageError
from caption_core.records import OUTPUT_SCHEMA, Caption, ErrorKind, ImageRef
from caption_core.search import SearchSettings

NUM_IMAGES = 30


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A finished run's folder, and what a killed one may have left in it."""
    storage = Storage.at(tmp_path / "captions")
    refs = [ImageRef(f"{index:02d}.jpg", f"file:///{index:02d}.jpg") for index in range(NUM_IMAGES)]
    with held_output_folder(storage):
        plan_folder = state_folder(storage).sub("plan-0")
        plan_folder.make()
        write_plan([refs_to_batch(refs)], plan_folder)
        write_record(storage, begin_record(RunIdentity({"a": 1}), ShardPlan(NUM_IMAGES, 10, "d"), "plan-0", ["in"]))
        for shard_id in range(3):
            _write_shard(storage, shard_id, refs[10 * shard_id : 10 * shard_id + 10])
        report = storage.sub(REPORT_FOLDER)
        report.make()
        report.write("summary.json", b"{}")
        storage.write(SUCCESS, b"")
    (tmp_path / "captions" / ".part-00003.parquet.0123456789abcdef.tmp").write_bytes(b"PAR1 half")
    return tmp_path / "captions"


def _write_shard(storage: Storage, shard_id: int, refs: list[ImageRef]) -> None:
    good = Caption("a dog runs", -0.5, 3, (("a dog runs", -0.5), ("a dog", -0.7)))
    bad = ImageError(ErrorKind.EMPTY, "zero bytes")
    outcomes = [ImageOutcome(ref, bad if ref.image_id == "07.jpg" else good) for ref in refs]
    rows = outcomes_to_table(outcomes, "m@1", shard_id, SearchSettings())
    write_part(storage, shard_id, rows, PartFooter("f", {}, count_outcomes(outcomes)))


def test_pyarrow(output: Path) -> None:
    table = ds.dataset(output, format="parquet").to_table()
    assert table.schema.names == OUTPUT_SCHEMA.names
    assert table.num_rows == NUM_IMAGES


def test_pandas(output: Path) -> None:
    frame = pd.read_parquet(output)
    assert len(frame) == NUM_IMAGES
    assert frame["caption"].isna().sum() == 1


@pytest.mark.parametrize("pattern", ["*.parquet", "**/*.parquet"])
def test_duckdb(output: Path, pattern: str) -> None:
    counts = f"select count(*), count(caption), count(distinct image_id) from '{output}/{pattern}'"
    assert duckdb.connect().execute(counts).fetchone() == (NUM_IMAGES, NUM_IMAGES - 1, NUM_IMAGES)


@pytest.mark.slow
def test_ray(output: Path) -> None:
    import ray

    ray.init("local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
    try:
        assert ray.data.read_parquet(str(output)).count() == NUM_IMAGES
    finally:
        ray.shutdown()


def test_hugging_face_datasets(output: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for arguments in ({"path": str(output)}, {"path": "parquet", "data_files": f"{output}/*.parquet"}):
        loaded = datasets.load_dataset(**arguments, split="train", cache_dir=str(tmp_path / "cache"))
        assert loaded.num_rows == NUM_IMAGES


@pytest.mark.slow
def test_spark(output: Path) -> None:
    pyspark = pytest.importorskip("pyspark.sql")
    spark = pyspark.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        assert spark.read.parquet(str(output)).count() == NUM_IMAGES
    finally:
        spark.stop()

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caption_core.metrics import frequency_files
from caption_core.metrics.document_frequency import FrequencyTable, merge_tables
from caption_core.metrics.frequency_files import merge_files, open_table, save_table

keys = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**63, 2**64 - 1])
tables = st.lists(st.dictionaries(keys, st.integers(1, 9), max_size=30), min_size=1, max_size=5)


def build(counts: dict[int, int]) -> FrequencyTable:
    ascending = sorted(counts)
    return FrequencyTable(np.array(ascending, np.uint64), np.array([counts[key] for key in ascending], np.int64), 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=tables, range_entries=st.integers(1, 40))
def test_merging_files_by_ranges_equals_merging_in_memory(
    tmp_path: Path, counts: list[dict[int, int]], range_entries: int
) -> None:
    stems = [tmp_path / f"part-{index}" for index in range(len(counts))]
    for stem, part in zip(stems, counts, strict=True):
        save_table(build(part), stem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frequency_files, "_RANGE_ENTRIES", range_entries)
        merge_files(stems, tmp_path / "merged")
    merged = open_table(tmp_path / "merged", 7)
    whole = merge_tables([build(part) for part in counts])
    shared = whole.counts > 1
    assert merged.num_images == 7
    assert merged.keys.tolist() == whole.keys[shared].tolist()
    assert merged.counts.tolist() == whole.counts[shared].tolist()


def test_nothing_but_the_result_is_left(tmp_path: Path) -> None:
    save_table(build({1: 2}), tmp_path / "part")
    merge_files([tmp_path / "part"], tmp_path / "merged")
    assert {path.suffix for path in tmp_path.iterdir()} == {".keys", ".counts"}
    assert len(list(tmp_path.iterdir())) == 4


def test_a_table_is_looked_up_without_being_read(tmp_path: Path) -> None:
    save_table(build(dict.fromkeys(range(1000), 2)), tmp_path / "part")
    table = open_table(tmp_path / "part", 3)
    assert isinstance(table.keys, np.memmap)
    assert table.lookup(np.array([5, 5000], np.uint64)).tolist() == [2, 0]

import lzma

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caption_core.stored_files import (
    CODECS,
    MAX_EXPANDED_BYTES,
    compress,
    decompress,
    expand,
    expanded_name,
    store,
    stored_names,
)

SPARSE = st.lists(st.tuples(st.integers(0, 700), st.binary(max_size=3)), max_size=20).map(
    lambda parts: b"".join(bytes(zeros) + values for zeros, values in parts)
)


def sparse_tensor(*, share: float, size: int = 50_000) -> bytes:
    """An int8 tensor as pruning leaves it: normal values, of which only the largest remain."""
    values = np.random.default_rng(1).normal(size=size)
    values[np.abs(values) < np.quantile(np.abs(values), 1 - share)] = 0
    return np.round(values * 30).astype(np.int8).tobytes()


@given(st.one_of(st.binary(max_size=2000), SPARSE), st.sampled_from(sorted(CODECS)))
@settings(deadline=None)
def test_what_is_stored_expands_to_itself(data: bytes, codec: str) -> None:
    ending, content = store(data, codec)
    assert len(content) <= len(data)
    assert (expand(content, ending, len(data)) if ending else content) == data


@pytest.mark.parametrize("codec", CODECS)
def test_a_sparse_tensor_takes_less_than_the_codec_alone_makes_of_it(codec: str) -> None:
    data = sparse_tensor(share=0.05)
    ending, content = store(data, codec)
    assert ending == f".gaps{CODECS[codec]}"
    assert len(content) < 0.92 * len(compress(data, codec))
    assert expand(content, ending, len(data)) == data


@pytest.mark.parametrize("codec", CODECS)
def test_gaps_of_any_length_come_back(codec: str) -> None:
    lengths = (0, 1, 254, 255, 256, 509, 510, 511, 70_000, 2_000_000)
    data = b"".join(bytes(length) + b"\xff" for length in lengths) + bytes(300)
    ending, content = store(data, codec)
    assert ending.startswith(".gaps")
    assert expand(content, ending, len(data)) == data


def test_places_beyond_the_first_block_come_back() -> None:
    data = (b"\x07" + bytes(2)) * 1_100_000
    separated = store(data, "zstd")
    assert expand(separated[1], separated[0], len(data)) == data


def test_noise_stays_as_it_is() -> None:
    noise = np.random.default_rng(0).bytes(1000)
    assert store(noise, "zstd") == ("", noise)


def test_the_tools_of_a_codec_can_read_it() -> None:
    data = b"a word " * 100
    assert lzma.decompress(compress(data, "xz")) == data
    assert pa.decompress(compress(data, "zstd"), len(data), "zstd", asbytes=True) == data


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_data_is_refused(codec: str) -> None:
    data = sparse_tensor(share=0.5, size=5000)
    content = compress(data, codec)
    for end in (0, 3, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match=rf"truncated, damaged or not {codec}|expands to \d+ bytes"):
            expand(content[:end], CODECS[codec], len(data))


@pytest.mark.parametrize(("codec", "other"), [("zstd", "xz"), ("xz", "zstd")])
def test_data_of_another_codec_are_refused(codec: str, other: str) -> None:
    with pytest.raises(ValueError, match=f"truncated, damaged or not {codec}"):
        expand(compress(b"words " * 50, other), CODECS[codec], 300)


@pytest.mark.parametrize("ending", [gaps + end for end in CODECS.values() for gaps in ("", ".gaps")])
def test_a_bomb_is_not_expanded_beyond_what_is_recorded(ending: str) -> None:
    codec = "xz" if ending.endswith("xz") else "zstd"
    bomb = compress(bytes(2_000_000), codec)
    with pytest.raises(ValueError, match="more than the recorded 1000 bytes"):
        expand(bomb, ending, 1000)


def test_a_record_beyond_the_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="at most"):
        decompress(compress(b"", "zstd"), "zstd", MAX_EXPANDED_BYTES + 1)


def test_a_file_that_asks_for_a_huge_window_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    with pytest.raises(ValueError, match="truncated, damaged or not xz"):
        decompress(lzma.compress(b"words", lzma.FORMAT_XZ, filters=filters), "xz", 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "fewer values than it says"),
        ((5).to_bytes(8, "little") + b"\1\2", "fewer values than it says"),
        ((2).to_bytes(8, "little") + b"\xff\0" + b"\1\2", "another number of values than of places"),
        ((1).to_bytes(8, "little") + b"\xfe\1", "more than the recorded 100 bytes"),
    ],
)
def test_gaps_that_do_not_fit_together_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expand(compress(content, "zstd"), ".gaps.zst", 100)


@given(st.one_of(SPARSE, st.binary(max_size=300)), st.integers(0, 2000))
@settings(deadline=None)
def test_hostile_gaps_end_as_an_error_or_as_so_many_bytes(content: bytes, size: int) -> None:
    try:
        expanded = expand(compress(content, "zstd"), ".gaps.zst", size)
    except ValueError:
        return
    assert len(expanded) == size


def test_an_unknown_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown compression '\.gz'"):
        expand(b"", ".gz", 1)


def test_names_tell_the_form() -> None:
    names = stored_names("step.tflite")
    assert set(names) == {f"step.tflite{end}" for end in (".zst", ".gaps.zst", ".xz", ".gaps.xz")}
    assert {expanded_name(name) for name in (*names, "step.tflite")} == {"step.tflite"}
    assert expanded_name("a.gaps") == "a.gaps"

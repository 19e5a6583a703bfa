from pathlib import Path

import pytest

from caption_core.errors import CapstanError, UsageError
from compression.measuring import loading
from compression.measuring.loading import measure_loading


def test_memory_is_what_the_captioner_adds_and_all_are_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    replies = [
        {"import_s": s, "load_s": 2 * s, "first_s": 3 * s, "before": 7e6, "loaded": 7e6 + s * 1e6, "captioned": s * 1e8}
        for s in (1.0, 9.0, 2.0)
    ]
    monkeypatch.setattr(loading, "measure_afresh", lambda *_, **__: replies.pop())
    found = measure_loading(Path("b"), runs=3)
    assert (found.import_s, found.load_s, found.first_s) == (2, 4, 6)
    assert found.loaded_mb == pytest.approx(2)
    assert found.memory_mb == pytest.approx(200 - 7)


def test_a_captioner_takes_memory(bundled: Path) -> None:
    found = measure_loading(bundled / "captioner", batch=1, runs=1)
    # Its graphs are mapped; what is read of them, and what the encoder computes, is resident.
    assert 1 < found.memory_mb < 1000
    assert found.load_s > 0


@pytest.mark.slow
def test_a_float_captioner_takes_at_least_its_weights(tiny_bundle: Path) -> None:
    found = measure_loading(tiny_bundle, batch=1, runs=1)
    assert found.memory_mb > 9


def test_what_can_not_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="from 1 on, not 1, 0 and 3"):
        measure_loading(tmp_path, batch=0)
    with pytest.raises(CapstanError, match="nowhere: no bundle here"):
        measure_loading(tmp_path / "nowhere")

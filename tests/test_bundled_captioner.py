import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from caption_core.bundle import MODEL_CARD, Bundle, open_bundle
from caption_core.captioner import load_runtime
from caption_core.runtimes import Runtime
from tests.bundled_agreement import RECORD, captions, log_probabilities

RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def bundle(bundled: Path) -> Bundle:
    return open_bundle(bundled / "captioner")


@pytest.fixture(scope="module")
def runtime(bundle: Bundle) -> Runtime:
    return load_runtime(bundle, threads=1)


def test_it_fits_its_size_and_needs_no_tensorflow(bundle: Bundle) -> None:
    assert bundle.num_bytes() <= 4_000_000
    assert bundle.manifest.runtime == "litert"


def test_the_record_is_of_its_parent(bundle: Bundle) -> None:
    assert RECORDED["parent"] == bundle.manifest.provenance.parent


def test_it_rates_its_parents_captions_as_the_parent_does(bundle: Bundle, runtime: Runtime) -> None:
    recorded = RECORDED["photographs"]
    found = log_probabilities(bundle, runtime, {name: entry["caption"] for name, entry in recorded.items()})
    for name, entry in recorded.items():
        # It was trained on from its parent, with zeros, and not only rounded.
        assert np.mean(found[name]) == pytest.approx(np.mean(entry["log_p"]), abs=0.5), name
    exact = np.concatenate([entry["log_p"] for entry in recorded.values()])
    quantized = np.concatenate([found[name] for name in recorded])
    assert np.mean(np.abs(exact - quantized)) < 0.25  # nats a word
    assert np.corrcoef(exact, quantized)[0, 1] > 0.7


def test_captions_are_about_its_parents(bundle: Bundle, runtime: Runtime) -> None:
    said = captions(bundle, runtime)
    shared = [words_in_common(said[name], entry["caption"]) for name, entry in RECORDED["photographs"].items()]
    assert np.mean(shared) >= 0.7
    assert len(set(said.values())) >= 0.8 * len(said)


def words_in_common(one: str, other: str) -> float:
    """Share of the words of two captions that both hold (F1)."""
    counts = [Counter(text.split()) for text in (one, other)]
    return 2 * (counts[0] & counts[1]).total() / (counts[0].total() + counts[1].total())


def test_the_card_states_scores_and_licence(bundle: Bundle) -> None:
    card = (bundle.folder / MODEL_CARD).read_text(encoding="utf-8")
    assert "CIDEr-D" in card
    assert "research" in card

from __future__ import annotations

import nltk.corpus
import pytest

from caption_core.metrics.optional_metrics import UnavailableError
from caption_core.metrics.wordnet_meteor import WordNetMeteor


def test_equals_nltk_where_its_data_is() -> None:
    try:
        metric = WordNetMeteor()
    except UnavailableError as error:
        pytest.skip(str(error))
    from nltk.translate.meteor_score import meteor_score

    captions, references = ["a dog runs", ""], [["a hound is running", "the dog"], ["a cat"]]
    columns = metric.columns(captions, references)
    plain = [meteor_score([r.split() for r in refs], c.split()) for c, refs in zip(captions, references, strict=True)]
    assert columns["wordnet_meteor"].tolist() == pytest.approx(plain)
    assert float(metric.scores({"wordnet_meteor": columns["wordnet_meteor"].sum()}, 2)) == pytest.approx(sum(plain) / 2)


def test_it_is_labelled_as_what_it_is() -> None:
    assert WordNetMeteor.name == "METEOR (NLTK WordNet)"


def test_without_its_data_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def ensure_loaded(self) -> None:
            raise LookupError("Resource wordnet not found.\nlong text")

    monkeypatch.setattr(nltk.corpus, "wordnet", Missing())
    with pytest.raises(UnavailableError, match=r"^METEOR \(NLTK WordNet\) left out: .*nltk\.downloader wordnet$"):
        WordNetMeteor()

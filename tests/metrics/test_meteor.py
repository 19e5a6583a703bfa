from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from caption_core.metrics.meteor import Meteor, meteor_from_statistics
from caption_core.metrics.optional_metrics import UnavailableError
from caption_core.metrics.scores import MetricError
from caption_core.metrics.tokenizer import tokenize

CAPTIONS = ["a dog runs on the grass", "a man", "", "two cats are sleeping", "the red car", "|||", "犬 が 走る"]
REFERENCES = [
    ["the dog is running in grass", "a brown dog runs on the green grass"],
    ["a man"],
    ["a dog"],
    ["two cats sleep", "cats"],
    ["a bicycle"],
    ["a pipe ||| sign"],
    ["犬 が 走る"],
]


@pytest.fixture(scope="module")
def meteor() -> Iterator[Meteor]:
    """One program for all tests: it takes seconds to load its tables."""
    try:
        found = Meteor()
    except UnavailableError as error:
        pytest.skip(str(error))
    yield found
    found.close()


@pytest.mark.slow
def test_scores_are_those_of_the_program(meteor: Meteor) -> None:
    columns = meteor.columns(CAPTIONS, REFERENCES)
    theirs = program_scores(meteor, CAPTIONS, REFERENCES)
    ours = meteor.scores(columns, 1)
    assert ours.tolist() == pytest.approx(theirs[:-1], abs=1e-12)
    whole = meteor.scores({name: column.sum() for name, column in columns.items()}, len(CAPTIONS))
    assert float(whole) == pytest.approx(theirs[-1], abs=1e-12)
    assert ours[1] > 0.99 or ours[1] == pytest.approx(ours[1])  # a perfect match is not fragmented
    assert ours[2] == 0.0


def program_scores(runner: Meteor, captions: list[str], references: list[list[str]]) -> list[float]:
    """The scores that the Java program itself gives, image by image and for the corpus."""
    statistics = [runner._statistics(c, r) for c, r in zip(captions, references, strict=True)]
    source, sink = runner._pipes()
    sink.write("EVAL ||| " + " ||| ".join(" ".join(map(str, row)) for row in statistics) + "\n")
    sink.flush()
    return [float(source.readline()) for _ in range(len(captions) + 1)]


@pytest.mark.slow
def test_a_published_score(meteor: Meteor, shared_data: Path) -> None:
    candidates = "updown_scst.json"
    folder = shared_data / "coco_metrics"
    references: dict[int, list[str]] = {}
    for record in json.loads((folder / "captions_test5k.json").read_text())["annotations"]:
        references.setdefault(record["image_id"], []).append(" ".join(tokenize(record["caption"])))
    records = json.loads((folder / "candidates" / candidates).read_text())
    captions = [" ".join(tokenize(record["caption"])) for record in records]
    columns = meteor.columns(captions, [references[record["image_id"]] for record in records])
    score = float(meteor.scores({name: column.sum() for name, column in columns.items()}, len(records)))
    published = json.loads((folder / "published_scores.json").read_text())["candidates"][candidates]["METEOR"]
    assert score == pytest.approx(published, abs=1e-3)


def test_no_match_scores_zero() -> None:
    assert meteor_from_statistics(np.zeros((3, 23))).tolist() == [0.0, 0.0, 0.0]


def test_without_java_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match=r"^METEOR left out: no java command; .*capstan\[coco\]'$"):
        Meteor()


def test_a_program_that_breaks_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pycocoevalcap")
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nread line\necho not a number\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    meteor = Meteor()
    with pytest.raises(MetricError, match="METEOR's Java program failed"):
        meteor.columns(["a"], [["a"]])
    meteor.close()

"""SPICE's own program needs a parser that has to be fetched; these tests stand a script in for `java`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from caption_core.metrics import spice as module
from caption_core.metrics.optional_metrics import UnavailableError
from caption_core.metrics.scores import MetricError
from caption_core.metrics.spice import Spice

_ANSWER = """#!/usr/bin/env python3
import json, os, sys
assert "--add-opens" in os.environ["JDK_JAVA_OPTIONS"]
records = json.load(open(sys.argv[sys.argv.index("-jar") + 2], encoding="utf-8"))
scores = [{"image_id": r["image_id"], "scores": {"All": {"f": len(r["refs"]) / 10}}} for r in reversed(records)]
json.dump(scores[SLICE], open(sys.argv[sys.argv.index("-out") + 1], "w"))
"""


@pytest.fixture
def spice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where all that SPICE needs lies; returns the stand-in for `java`."""
    for relative in ("spice/spice-1.0.jar", module._PARSER, module._MODELS):
        (tmp_path / relative).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / relative).touch()
    monkeypatch.setattr(module, "find_program", lambda _metric, relative: tmp_path / relative)
    java = tmp_path / "java"
    monkeypatch.setattr(module, "find_java", lambda _metric: str(java))
    return java


def write_script(java: Path, script: str) -> None:
    java.write_text(script)
    java.chmod(0o755)


def test_scores_are_joined_with_their_images(spice: Path) -> None:
    write_script(spice, _ANSWER.replace("[SLICE]", ""))
    columns = Spice().columns(["a dog", "un chien é"], [["x"], ["x", "y", "z"]])
    assert columns["spice"].tolist() == [0.1, 0.3]
    assert float(Spice().scores({"spice": columns["spice"].sum()}, 2)) == pytest.approx(0.2)


def test_an_image_without_a_score_is_an_error(spice: Path) -> None:
    write_script(spice, _ANSWER.replace("SLICE", "1:"))
    with pytest.raises(MetricError, match="scored 1 of 2 images"):
        Spice().columns(["a", "b"], [["x"], ["y"]])


def test_a_program_that_breaks_is_told_with_its_last_words(spice: Path) -> None:
    write_script(spice, "#!/bin/sh\necho one >&2\necho 'no such class' >&2\nexit 3\n")
    with pytest.raises(MetricError, match="exit code 3: no such class"):
        Spice().columns(["a"], [["x"]])


def test_without_its_parser_it_says_how_to_get_it(spice: Path) -> None:
    (spice.parent / module._MODELS).unlink()
    with pytest.raises(UnavailableError, match=r"^SPICE left out: .*-models\.jar; .*get_stanford_models$"):
        Spice()


@pytest.mark.slow
def test_published_scores(shared_data: Path) -> None:
    from caption_core.metrics.tokenizer import tokenize

    try:
        spice = Spice()
    except UnavailableError as error:
        pytest.skip(str(error))
    folder = shared_data / "coco_metrics"
    references: dict[int, list[str]] = {}
    for record in json.loads((folder / "captions_test5k.json").read_text())["annotations"]:
        references.setdefault(record["image_id"], []).append(" ".join(tokenize(record["caption"])))
    records = json.loads((folder / "candidates" / "supermask_lstm_0975.json").read_text())
    captions = [" ".join(tokenize(record["caption"])) for record in records]
    columns = spice.columns(captions, [references[record["image_id"]] for record in records])
    assert columns["spice"].mean() == pytest.approx(0.167, abs=1e-3)

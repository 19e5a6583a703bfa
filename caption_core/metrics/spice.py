"""SPICE (Anderson et al. 2016): the Java program that coco-caption uses, over scene graphs of captions."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from caption_core.metrics.blocks import Float64
from caption_core.metrics.java_programs import find_java, find_program
from caption_core.metrics.optional_metrics import UnavailableError
from caption_core.metrics.scores import MetricError

_PARSER = "spice/lib/stanford-corenlp-3.6.0.jar"
_MODELS = "spice/lib/stanford-corenlp-3.6.0-models.jar"

# The program's libraries reach into Java's own classes, which Java 9 and later allow only where told to; Java 8 doesn't
# read this variable and needs none of it.
_OPENED = ("lang", "math", "util", "util.concurrent", "net", "text", "io")
_JAVA_OPTIONS = " ".join(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED)


class Spice:
    """SPICE's F-score of each image, averaged over images.

    Raises:
        UnavailableError: Java, the program or the parser that it needs is missing.
    """

    name = "SPICE"

    def __init__(self) -> None:
        """Find the program."""
        self._java = find_java(self.name)
        self._program = find_program(self.name, "spice/spice-1.0.jar")
        for part in (_PARSER, _MODELS):
            if not (self._program.parents[1] / part).is_file():
                raise UnavailableError(
                    f"SPICE left out: no {Path(part).name}; get Stanford CoreNLP 3.6.0 by: "
                    "python -m pycocoevalcap.spice.get_stanford_models"
                )

    def columns(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Float64]:
        """F-scores of the images."""
        pairs = zip(captions, references, strict=True)
        records = [{"image_id": i, "test": caption, "refs": list(texts)} for i, (caption, texts) in enumerate(pairs)]
        return {"spice": _f_scores(self._run(records), len(records))}

    def scores(self, sums: Mapping[str, Float64], num_images: float) -> Float64:
        """The mean."""
        return sums["spice"] / num_images

    def close(self) -> None:
        """Nothing keeps running."""

    def _run(self, records: list[dict[str, object]]) -> object:
        with tempfile.TemporaryDirectory(prefix="capstan-spice-") as folder:
            source, target = Path(folder) / "captions.json", Path(folder) / "scores.json"
            source.write_text(json.dumps(records), encoding="utf-8")
            command = [self._java, "-Xmx8G", "-Dfile.encoding=UTF-8", "-jar", str(self._program), str(source)]
            done = subprocess.run(
                [*command, "-out", str(target), "-silent"],
                cwd=folder,
                env=os.environ | {"JDK_JAVA_OPTIONS": _JAVA_OPTIONS},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode or not target.is_file():
                last = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise MetricError(f"SPICE's Java program failed with exit code {done.returncode}: {last}")
            scores: object = json.loads(target.read_text(encoding="utf-8"))
            return scores


def _f_scores(results: object, num_images: int) -> Float64:
    scores = np.full(num_images, np.nan)
    for result in results if isinstance(results, list) else []:
        scores[result["image_id"]] = float(result["scores"]["All"]["f"])
    if np.isnan(scores).any():
        raise MetricError(f"SPICE's Java program scored {int((~np.isnan(scores)).sum())} of {num_images} images")
    return scores

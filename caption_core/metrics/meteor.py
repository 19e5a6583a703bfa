"""METEOR 1.5 (Denkowski and Lavie 2014): the Java program that coco-caption uses, with its English settings."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

from caption_core.metrics.blocks import Float64
from caption_core.metrics.java_programs import find_java, find_program
from caption_core.metrics.scores import MetricError

_COLUMNS = [f"meteor_{index:02d}" for index in range(23)]
_LENGTH, _FUNCTION = (0, 1), (2, 3)  # positions of (candidate, reference) words and function words
_CONTENT_MATCHES, _FUNCTION_MATCHES = ((4, 8, 12, 16), (5, 9, 13, 17)), ((6, 10, 14, 18), (7, 11, 15, 19))
_CHUNKS, _MATCHED_WORDS = 20, (21, 22)

# Tuned by METEOR's authors on English rankings ("-l en", task "rank").
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_MATCH_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase


class Meteor:
    """METEOR's statistics come from the Java program, scores are computed from them here.

    Raises:
        UnavailableError: Java or the program is missing.
    """

    name = "METEOR"

    def __init__(self) -> None:
        """Find the program; it starts with the first images."""
        self._java = find_java(self.name)
        self._program = find_program(self.name, "meteor/meteor-1.5.jar")
        self._process: subprocess.Popen[str] | None = None

    def columns(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Float64]:
        """The 23 sums that METEOR aggregates a corpus by, for the best-matching reference of each image."""
        rows = [self._statistics(caption, texts) for caption, texts in zip(captions, references, strict=True)]
        table = np.array(rows, np.float64).reshape(len(rows), len(_COLUMNS))
        table[_matches_whole(table), _CHUNKS] = 0  # a perfect match is not fragmented, in a corpus neither
        return {name: table[:, index] for index, name in enumerate(_COLUMNS)}

    def scores(self, sums: Mapping[str, Float64], _num_images: float) -> Float64:
        """METEOR of a corpus is that of its summed statistics, not the mean of its images' scores."""
        return meteor_from_statistics(np.stack([sums[name] for name in _COLUMNS], axis=-1))

    def close(self) -> None:
        """End the Java process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None

    def _statistics(self, caption: str, references: Sequence[str]) -> list[float]:
        texts = [text.replace("|||", "").replace("  ", " ") for text in (*references, caption)]
        source, sink = self._pipes()
        try:
            sink.write(" ||| ".join(["SCORE", *texts]) + "\n")
            sink.flush()
            return [float(value) for value in source.readline().split()]
        except (OSError, ValueError) as error:
            raise MetricError(f"METEOR's Java program failed: {error}") from error

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        if self._process is None:
            command = [self._java, "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", str(self._program)]
            self._process = subprocess.Popen(
                [*command, "-", "-", "-stdio", "-l", "en", "-norm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        return self._process.stdout, self._process.stdin


def meteor_from_statistics(statistics: Float64) -> Float64:
    """METEOR from sums of its 23 statistics, as the program itself computes it: float64 [..., 23] -> float64 [...].

    Candidates that match their reference word by word must have been summed with no chunk.
    """
    precision, recall = (_weighted_matches(statistics, side) for side in (0, 1))
    mean = _divide(precision * recall, _ALPHA * precision + (1 - _ALPHA) * recall)
    scores: Float64 = mean * (1 - _GAMMA * _fragmentation(statistics) ** _BETA)
    return scores


def _weighted_matches(statistics: Float64, side: int) -> Float64:
    """Share of the words that match, function words counted less; side 0 is the candidate, 1 the reference."""
    content = statistics[..., _CONTENT_MATCHES[side]] @ _MATCH_WEIGHTS
    function = statistics[..., _FUNCTION_MATCHES[side]] @ _MATCH_WEIGHTS
    words, function_words = statistics[..., _LENGTH[side]], statistics[..., _FUNCTION[side]]
    matched = _DELTA * content + (1 - _DELTA) * function
    return _divide(matched, _DELTA * (words - function_words) + (1 - _DELTA) * function_words)


def _fragmentation(statistics: Float64) -> Float64:
    """Chunks a matched word."""
    matched = statistics[..., _MATCHED_WORDS[0]] + statistics[..., _MATCHED_WORDS[1]]
    return _divide(statistics[..., _CHUNKS], matched / 2)


def _matches_whole(statistics: Float64) -> npt.NDArray[np.bool_]:
    """bool [images]: whether all words match, in one chunk."""
    all_words = statistics[:, _MATCHED_WORDS] == statistics[:, _LENGTH]
    return np.asarray(all_words.all(axis=1) & (statistics[:, _CHUNKS] == 1))


def _divide(above: Float64, below: Float64) -> Float64:
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), 0.0)

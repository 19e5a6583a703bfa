"""What the bundled captioner's float parent says of the sample photographs, written down once.

The parent is too large to come along. After making the bundled captioner anew, record its parent's captions with
`python -m tests.bundled_agreement PARENT_BUNDLE`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import VOCABULARY, Bundle, open_bundle
from caption_core.captioner import load_runtime
from caption_core.images import ImageLimits, decode_image
from caption_core.runtimes import Runtime
from caption_core.search import search
from caption_core.vocabulary import END, START, Vocabulary

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "tests" / "data" / "bundled_agreement.json"
PHOTOGRAPHS = ROOT / "caption_core" / "assets" / "photographs"


def photographs(bundle: Bundle) -> dict[str, NDArray[np.uint8]]:
    """The sample photographs as a captioner sees them, by file name."""
    size = (bundle.manifest.preprocessing.height, bundle.manifest.preprocessing.width)
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    return {path.name: decode_image(path.read_bytes(), size, ImageLimits()).pixels for path in paths}


def captions(bundle: Bundle, runtime: Runtime) -> dict[str, str]:
    """The bundle's own captions of the photographs, with its search defaults."""
    images = photographs(bundle)
    vocabulary = Vocabulary.load(bundle.path(VOCABULARY))
    state, step = runtime.start(runtime.encode(np.stack(list(images.values()))))
    found = search(step, state, bundle.manifest.search.settings())
    return dict(zip(images, map(vocabulary.decode, found.tokens[:, 0]), strict=True))


def log_probabilities(bundle: Bundle, runtime: Runtime, given: dict[str, str]) -> dict[str, list[float]]:
    """Log probability in nats of each word of the given captions, the end token last."""
    vocabulary = Vocabulary.load(bundle.path(VOCABULARY))
    images = photographs(bundle)
    return {name: _word_log_p(runtime, images[name], vocabulary, caption) for name, caption in given.items()}


def _word_log_p(runtime: Runtime, image: NDArray[np.uint8], vocabulary: Vocabulary, caption: str) -> list[float]:
    state, step = runtime.start(runtime.encode(image[None]))
    words = [*vocabulary.encode(caption, max_tokens=100), END]
    found = []
    for previous, word in zip([START, *words], words, strict=False):
        logits, state = step(np.array([[previous]], np.int32), state)
        row = logits[0, 0].astype(np.float64)
        found.append(float(row[word] - row.max() - np.log(np.exp(row - row.max()).sum())))
    return found


def record(parent: Path) -> dict[str, Any]:
    """What is written down of a float bundle."""
    bundle = open_bundle(parent)
    runtime = load_runtime(bundle, threads=1)
    said = captions(bundle, runtime)
    scores = log_probabilities(bundle, runtime, said)
    return {
        "parent": bundle.model_id,
        "photographs": {
            name: {"caption": said[name], "log_p": [round(value, 4) for value in scores[name]]} for name in said
        },
    }


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(Path(sys.argv[1])), indent=1) + "\n", encoding="utf-8")

"""Measures captioning in the manner of the first captioners: `python -m tests.measure_word_by_word BUNDLE [IMAGES]`.

One image after the other: a `predict` for its features, and for each word another one over the whole caption so far,
padded to full length (as in arXiv 2012.09708 and the tutorials of its time). Beside it the same bundle's captioner, one
image a call and 32 a call, in the same process. A bundle with random weights speaks until `--words`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from tests.captioning_rates import Way, photographs, print_rates

_LENGTH = 20
_FEW = 8  # images of the slow ways


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--words",
    type=click.IntRange(1, _LENGTH),
    default=11,
    show_default=True,
    help="Of a caption.",
)
@click.option("--repeats", default=3, show_default=True, help="Rounds, in which all take turns.")
def main(bundle: Path, images: Path, words: int, repeats: int) -> None:
    """Print images a second of each way, the median of the rounds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from caption_core.bundle import open_bundle
    from caption_core.captioner import load_captioner
    from caption_core.images import ImageLimits, decode_image
    from caption_core.runtimes.tensorflow import load_model
    from caption_core.search import SearchSettings

    captioner = load_captioner(bundle)  # first, for it says how many threads TensorFlow has
    files = photographs(images)
    pixels = np.stack([decode_image(file.read_bytes(), captioner.image_size, ImageLimits()).pixels for file in files])
    search = SearchSettings(beam_width=1, max_tokens=words)
    caption_one = _word_by_word(load_model(open_bundle(bundle)), words)
    few = pixels[:_FEW]
    ways: dict[str, Way] = {
        "word by word": lambda: len([caption_one(image[None]) for image in few]),
        "one image a call": lambda: len([captioner.caption(image[None], search) for image in few]),
        f"{len(pixels)} images a call": lambda: len(captioner.caption(pixels, search)),
    }
    print_rates(ways, repeats)


def _word_by_word(model: object, words: int) -> Callable[[NDArray[np.uint8]], list[int]]:
    import tf_keras

    from caption_core.models.captioning import CaptioningModel
    from caption_core.vocabulary import START

    assert isinstance(model, CaptioningModel)
    features = tf_keras.Input(model.encoder.output_shape[1:])
    tokens = tf_keras.Input((_LENGTH,), dtype="int32")
    logits = model.decoder(features, tokens[:, None])[:, 0]
    decoder = tf_keras.Model([features, tokens], logits)

    def caption(image: NDArray[np.uint8]) -> list[int]:
        seen = model.encoder.predict(image.astype(np.float32), verbose=0)
        said = np.zeros((1, _LENGTH), np.int32)
        said[0, 0] = START
        for place in range(words):
            following = decoder.predict([seen, said], verbose=0)[0, place].argmax()
            if place + 1 < _LENGTH:
                said[0, place + 1] = following
        return [int(token) for token in said[0, 1 : words + 1]]

    return caption


if __name__ == "__main__":
    main()

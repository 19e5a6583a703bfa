"""Measures BLIP's base captioner in PyTorch beside a bundle's: `python -m tests.measure_blip BUNDLE IMAGES`.

BLIP (arXiv 2201.12086) has random weights here: its speed depends on its shape, and on `--words`, which its captions
have exactly and the bundle's at most. It is given pixels; the captioner of the bundle, on the other hand, reads and
decodes its images. One thread each, greedy, in turns, in one process. It alone needs `pip install torch transformers`.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np

from tests.captioning_rates import Way, photographs, print_rates

_FEW = 8  # images of a call of the slow one
_SIDE = 384  # of its images, in pixels


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--words", type=click.IntRange(1, 20), default=11, show_default=True, help="Of a caption.")
@click.option("--repeats", default=3, show_default=True, help="Rounds, in which all take turns.")
def main(bundle: Path, images: Path, words: int, repeats: int) -> None:
    """Print images a second of each, the median of the rounds."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ways = {"the bundle": _bundle(bundle, images, words)}
    ways |= {f"BLIP, {precision}": _blip(precision, words) for precision in ("float32", "bfloat16")}
    print_rates(ways, repeats)


def _bundle(bundle: Path, images: Path, words: int) -> Way:
    from caption_core.captioner import load_captioner
    from caption_core.images import ImageLimits, decode_image
    from caption_core.search import SearchSettings

    captioner = load_captioner(bundle)
    files = photographs(images)
    search = SearchSettings(beam_width=1, max_tokens=words)

    def caption() -> int:
        decoded = [decode_image(file.read_bytes(), captioner.image_size, ImageLimits()) for file in files]
        return len(captioner.caption(np.stack([image.pixels for image in decoded]), search))

    return caption


def _blip(precision: str, words: int) -> Way:
    try:
        import torch
        from transformers import BlipConfig, BlipForConditionalGeneration
    except ImportError as error:
        raise click.UsageError(f"{error}: pip install torch transformers") from error
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = BlipConfig()
    config.vision_config.image_size, config.text_config.num_attention_heads = _SIDE, 12
    model = BlipForConditionalGeneration(config).eval().to(getattr(torch, precision))
    pixels = torch.rand(_FEW, 3, _SIDE, _SIDE).to(getattr(torch, precision))

    def caption() -> int:
        with torch.inference_mode():
            said = model.generate(pixel_values=pixels, min_new_tokens=words, max_new_tokens=words, num_beams=1)
        return len(said)

    return caption


if __name__ == "__main__":
    main()

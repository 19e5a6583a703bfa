"""What decoding at smaller scales costs: `python -m tests.measure_scaled_decoding IMAGES CAPTIONS --size 1024 768`.

Every photograph is enlarged to each of the sizes and saved as JPEG, mirrored too, and captioned as decoded whole, by
default and at the smallest scale that is `--least` times the captioner's images. A difference is a photograph's mean
over all these, the interval one over photographs.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from caption_core.captioner import Captioner, load_captioner
from caption_core.engine.captioner_spec import DEFAULT_BUNDLE
from caption_core.images import ImageLimits, decode_image
from caption_core.images.colours import resized
from caption_core.metrics.bootstrap import BootstrapSettings, ResampledSums, interval
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.metrics.scores import image_statistics
from caption_core.search import SearchSettings
from caption_core.training.dataset import read_captions

_BATCH_IMAGES = 32
_JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class View:
    """A way to enlarge a photograph, to (width, height) in pixels."""

    size: tuple[int, int]
    mirrored: bool

    def jpeg(self, photograph: Path) -> bytes:
        """The enlarged photograph."""
        image = Image.open(photograph).convert("RGB").resize(self.size, Image.Resampling.LANCZOS)
        content = io.BytesIO()
        (ImageOps.mirror(image) if self.mirrored else image).save(content, "JPEG", quality=_JPEG_QUALITY)
        return content.getvalue()

    def __str__(self) -> str:
        return f"{self.size[0]} x {self.size[1]}{', mirrored' if self.mirrored else ''}"


def _whole(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(resized(Image.open(io.BytesIO(content)), (size[1], size[0])))


def _by_default(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    return decode_image(content, size, ImageLimits()).pixels


Decode = Callable[[bytes, tuple[int, int]], NDArray[np.uint8]]


def _at_least(times: float) -> Decode:
    """Decode at the smallest scale that is so many times the captioner's size."""

    def decode(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
        image = Image.open(io.BytesIO(content))
        image.draft(None, (math.ceil(times * size[1]), math.ceil(times * size[0])))
        return np.asarray(resized(image, (size[1], size[0])))

    return decode


_WHOLE = "whole"
_WAYS: Mapping[str, Decode] = {_WHOLE: _whole, "by default": _by_default}


@click.command()
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("captions", type=click.Path(exists=True, dir_okay=False))
@click.option("--bundle", type=click.Path(exists=True, file_okay=False, path_type=Path), default=DEFAULT_BUNDLE)
@click.option("--size", "sizes", type=(int, int), multiple=True, required=True, help="WIDTH HEIGHT to enlarge to.")
@click.option("--least", type=float, multiple=True, help="Scale to decode at, too, times the captioner's images.")
@click.option("--limit", type=int, default=None, help="Photographs [default: all that have captions].")
def main(
    images: Path,
    captions: str,
    bundle: Path,
    sizes: Sequence[tuple[int, int]],
    least: Sequence[float],
    limit: int | None,
) -> None:
    """Print the change of CIDEr-D, in points, against images that are decoded whole."""
    references = read_captions([ReferenceFile(captions)])
    names = sorted(name for name in references if (images / name).is_file())[:limit]
    if not names:
        raise click.UsageError(f"{images}: no photograph here that {captions} has captions of")
    scored = {name: references[name] for name in names}
    captioner = load_captioner(bundle)
    ways = {**_WAYS, **{f"at {times:g} times": _at_least(times) for times in least}}
    changes: dict[str, list[NDArray[np.float64]]] = {}
    for view in [View(size, mirrored) for size in sizes for mirrored in (False, True)]:
        said = _captions(captioner, ways, view, [images / name for name in names])
        scores = {way: _scores(texts, scored) for way, texts in said.items()}
        for way in [way for way in ways if way != _WHOLE]:
            changes.setdefault(way, []).append(scores[way] - scores[_WHOLE])
            changed = sum(one != other for one, other in zip(said[way], said[_WHOLE], strict=True))
            change = _summary(changes[way][-1])
            click.echo(f"{view!s:<22} {way:<14} {change}, {changed} of {len(names)} captions differ")
    for way, of_views in changes.items():
        click.echo(f"{'all':<22} {way:<14} {_summary(np.mean(of_views, axis=0))}")


def _captions(
    captioner: Captioner, ways: Mapping[str, Decode], view: View, photographs: Sequence[Path]
) -> dict[str, list[str]]:
    """Captions of each photograph, by how it is decoded."""
    found: dict[str, list[str]] = {way: [] for way in ways}
    greedy = SearchSettings(beam_width=1)
    for begin in range(0, len(photographs), _BATCH_IMAGES):
        contents = [view.jpeg(photograph) for photograph in photographs[begin : begin + _BATCH_IMAGES]]
        for way, decode in ways.items():
            pixels = np.stack([decode(content, captioner.image_size) for content in contents])
            found[way] += [caption.text for caption in captioner.caption(pixels, greedy)]
    return found


def _scores(texts: Sequence[str], references: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
    """CIDEr-D in points, float64 [photographs], of captions in the order of the references."""
    return 100 * image_statistics(dict(zip(references, texts, strict=True)), references).cider_d


def _summary(differences: NDArray[np.float64]) -> str:
    """Mean and 95 % interval over photographs of float64 [photographs]."""
    settings = BootstrapSettings()
    sums = ResampledSums(len(differences), settings)
    sums.add({"difference": differences})
    spread = interval(sums.sums()["difference"] / len(differences), settings.confidence)
    return f"{differences.mean():+.2f} [{spread.low:+.2f}, {spread.high:+.2f}]"


if __name__ == "__main__":
    main()

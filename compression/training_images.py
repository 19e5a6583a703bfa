"""The images that the steps of recipes calibrate and train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from caption_core.metrics.reference_files import ReferenceFile
from caption_core.metrics.split_files import read_split
from caption_core.training.config import DataConfig
from caption_core.training.dataset import load_split, locate_images
from compression.variants import digest_of


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """What steps calibrate and train on.

    Attributes:
        images: folder of images, or of folders of them; None where no step needs any.
        train_split: file of the training images' names, or the name of a split that `splits` or the captions' file has.
        captions: captions and both splits, where a step trains; None otherwise. What follows but `cache` is then its.
        cache: folder of encoder activations and teachers' captions.
        splits: file that names each image's split.
        skip_missing: leave out images without a file.
    """

    images: Path | None
    train_split: str | None
    captions: DataConfig | None
    cache: Path
    splits: str | None = None
    skip_missing: bool = False

    def read(self, tell: Callable[[str], None] = lambda _: None) -> tuple[tuple[str, ...], str]:
        """Paths of the training images within their folder, and what stands for the data in the keys of steps.

        Where no captions are read, an image without a file keeps its name: it may be that no step needs it.

        Args:
            tell: takes lines that say how many images were left out.

        Raises:
            UsageError: splits or captions can't be read, or a name leads out of the folder.
        """
        if self.captions is None:
            names = self._without_captions(tell)
            return names, digest_of([str(self.images), names])
        # Imported here, for it needs more than a recipe without training does.
        from caption_core.training.data import load_data

        data = load_data(self.captions, tell=tell)
        read = [[split.names, split.captions] for split in (data.train, data.dev)]
        settings = [self.captions.max_tokens, self.captions.views]
        return data.train.names, digest_of([str(self.images), read, settings])

    def _without_captions(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        if self.images is None or self.train_split is None:
            return ()
        names = self._split_names(self.train_split)
        if self.skip_missing:
            no_captions: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
            return load_split(self.images, no_captions, self.train_split, names, skip_missing=True, tell=tell).names
        places = locate_images(self.images, names)
        return tuple(places.get(name, name) for name in names)

    def _split_names(self, split: str) -> tuple[str, ...]:
        if self.splits is None:
            return read_split(Path(split))
        return ReferenceFile(self.splits).split_ids(split, numeric_ids=False)

    def files(self) -> tuple[Path, ...]:
        """The training images, as far as they are known; raises as `read` does."""
        return () if self.images is None else tuple(self.images / name for name in self.read()[0])

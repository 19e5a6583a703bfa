"""The images that variants are scored on."""

from __future__ import annotations

from pathlib import Path

from caption_core.errors import UsageError
from caption_core.metrics.reference_files import ReferenceFile
from caption_core.training.dataset import locate_images, read_captions
from compression.measurement import ScoredContent
from compression.measuring.quality import ScoredSplit
from compression.variants import digest_of


def locate_scored(scored: ScoredSplit, references: ReferenceFile) -> dict[str, Path]:
    """The images that are scored by the references' names for them; one that isn't there has a path nonetheless."""
    names = references.split_ids(scored.split, numeric_ids=False)
    places = locate_images(scored.images, names)
    return {name: scored.images / places.get(name, name) for name in names}


def digest_scored(scored: ScoredSplit | None) -> ScoredContent | None:
    """See to it that the images to score and their references are there, and digest them."""
    if scored is None:
        return None
    references = ReferenceFile(scored.references)
    files = locate_scored(scored, references)
    if not files:
        raise UsageError(f"--score-split {scored.split}: no image is in it")
    if missing := next((file for file in files.values() if not file.is_file()), None):
        raise UsageError(f"--score-split {scored.split}: {missing}: no such file")
    captions = read_captions([references])
    if lacking := next((name for name in files if name not in captions), None):
        raise UsageError(f"--score-split {scored.split}: {lacking} has no reference in {scored.references}")
    # By its size an image is known, wherever its folder is moved to; to read them all would take minutes.
    content = [[name, file.stat().st_size, captions[name]] for name, file in files.items()]
    return ScoredContent(scored.name, len(files), digest_of(content))

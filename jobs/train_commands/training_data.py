"""Options that say what is trained on, and what they mean: the same to every command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caption_core.archive.storage import is_remote
from caption_core.training.config import DataConfig
from jobs.train_commands.arguments import ANY

SPLITS = click.option(
    "--splits", help="Karpathy JSON, or Parquet with a column 'split' [default: the first --captions]."
)
CACHE = click.option("--cache", type=ANY, help="Folder of cached encoder features [default: OUTPUT/cache].")
MAX_TOKENS = click.option(
    "--max-tokens", default=20, show_default=True, help="Longest caption in words; longer ones are cut."
)
VIEWS = click.option(
    "--views", default=2, show_default=True, help="Views of a training image: as is, mirrored, random crops."
)
LIMIT_IMAGES = click.option("--limit-images", type=int, help="Train and select on the first images of each split only.")
SKIP_MISSING = click.option(
    "--skip-missing", is_flag=True, help="Leave out images without caption or file, and say how many."
)


def data_config(o: dict[str, Any], **others: Any) -> DataConfig:
    """Captions and both splits.

    Args:
        o: a command's options by name.
        others: fields that not every command has an option for.
    """
    return DataConfig(
        images=o["images"],
        captions=tuple(map(resolved, o["captions"])),
        train_split=resolved_file(o["train_split"]),
        dev_split=resolved_file(o["dev_split"]),
        splits=splits_of(o),
        skip_missing=o["skip_missing"],
        cache=cache_of(o),
        max_tokens=o["max_tokens"],
        views=o["views"],
        limit_images=o["limit_images"],
        **others,
    )


def cache_of(o: dict[str, Any]) -> Path:
    """Folder of cached features: the run's own, where none is shared."""
    folder: Path = o["cache"] or o["output"] / "cache"
    return folder


def splits_of(o: dict[str, Any]) -> str | None:
    """File that names each image's split."""
    return resolved(o["splits"]) if o["splits"] else None


def resolved(path: str) -> str:
    """A file's or folder's full path; an address stays what it is."""
    return path if is_remote(path) else str(Path(path).resolve())


def resolved_file(split: str) -> str:
    """A split file's full path; a split's name stays what it is, even where a folder is called the same."""
    return str(Path(split).resolve()) if Path(split).is_file() else split

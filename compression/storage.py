"""A bundle's weights in compressed form: what is downloaded shrinks to what pruning and clustering left in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from caption_core.bundle import MODEL_CARD, Bundle, open_bundle, write_bundle
from caption_core.errors import UsageError
from caption_core.model_card import render_model_card
from caption_core.stored_files import CODECS, expanded_name, store

PLAIN = "none"
"""In place of a codec: files as they are."""

# The rest stays readable: a vocabulary shrinks to a half, which is some thousand bytes.
_WEIGHTS = (".tflite", ".safetensors")


def store_bundle(folder: Path, output: Path, codec: str) -> Bundle:
    """Write a bundle again with its weights compressed; it keeps its id, for its captions stay the same.

    Args:
        folder: the bundle; its weights may be compressed already.
        output: the new bundle's folder, which may be the same.
        codec: `zstd` expands in milliseconds, `xz` in a tenth of a second a megabyte and is a few percent smaller; or
            `none`, which expands all.

    Raises:
        BundleError: the folder is no bundle, or is altered.
        UsageError: the codec is unknown.
    """
    if codec not in (*CODECS, PLAIN):
        raise UsageError(f"unknown codec {codec!r}; this program knows {', '.join((*CODECS, PLAIN))}")
    bundle = open_bundle(folder)
    files, expanded = _stored_files(bundle, codec)
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"}) | {"expanded": expanded}
    provenance = fields["provenance"]
    earlier = provenance["steps"] or [f"trained in float32: {provenance['command']}"]
    provenance["steps"] = [*earlier, f"store: weights compressed with {codec}"]
    return write_bundle(output, fields, {**files, MODEL_CARD: render_model_card(fields).encode()})


def _stored_files(bundle: Bundle, codec: str) -> tuple[dict[str, Path | bytes], dict[str, dict[str, int | str]]]:
    """The bundle's files in their new form, and what the compressed ones expand to, both by name."""
    files: dict[str, Path | bytes] = {}
    expanded: dict[str, dict[str, int | str]] = {}
    for name in map(expanded_name, bundle.manifest.files):
        if not name.endswith(_WEIGHTS):
            files[name] = bundle.read(name)
            continue
        plain = bundle.read(name)
        ending, content = ("", plain) if codec == PLAIN else store(plain, codec)
        files[name + ending] = content
        if ending:
            expanded[name + ending] = {"bytes": len(plain), "sha256": hashlib.sha256(plain).hexdigest()}
    return files, expanded

"""A bundle's model card: what its manifest says, as a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """# {name}

An image captioner made by Capstan: {encoder} encoder, {decoder} decoder, {runtime} runtime.

## What it is for

Short English captions of everyday photographs of the kind it was trained on: people, dogs, sports and outdoor scenes.
It names what it has seen often and guesses the rest: it is not fit for decisions about people, for text, or for
images unlike photographs.

## What each part derives from

| part | derives from |
| --- | --- |
{derivations}

## Licence limits

{licence}

## Measured

{metrics}

## How it was made

{steps}

Last command: `{command}`, seed {seed}. Made with {versions}.
"""


def render_model_card(manifest: Mapping[str, Any]) -> str:
    """Render the card of a manifest's fields as Markdown."""
    provenance = manifest["provenance"]
    notes = dict(provenance.get("notes", {}))
    licence = notes.pop("licence", "Bound to the licences of the training images, captions and encoder weights.")
    derivations = {
        "encoder": f"{provenance['encoder_weights']} weights",
        "vocabulary and decoder": f"the captions of {provenance['trained_on']}",
        **notes,
    }
    return _CARD.format(
        name=manifest["name"],
        encoder=manifest["architecture"]["encoder"],
        decoder=manifest["architecture"]["decoder"],
        runtime=manifest["runtime"],
        derivations="\n".join(f"| {part} | {source} |" for part, source in derivations.items()),
        licence=licence,
        metrics=_metrics(manifest.get("metrics", {})),
        command=provenance["command"],
        seed=provenance["seed"],
        steps="\n".join(f"1. {step}" for step in provenance.get("steps", ())) or "1. trained in float32",
        versions=", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items()),
    )


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> str:
    if not metrics:
        return "Nothing yet."
    names = list(dict.fromkeys(name for scores in metrics.values() for name in scores))
    lines = [f"| protocol | {' | '.join(names)} |", "| --- |" + " --- |" * len(names)]
    for protocol, scores in metrics.items():
        cells = (f"{scores[name]:.3f}" if name in scores else "" for name in names)
        lines.append(f"| {protocol} | {' | '.join(cells)} |")
    return "\n".join(lines)

"""Measured studies as they lie on disk, made up: a captioner as it is, and what a study made of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import yaml

from compression.measurement import MEASUREMENT, Layer, Machine, Measurement, Quality, Size, Speed
from compression.measuring.quality import write_captions

MACHINE = Machine(processor="Example CPU", cores=2, memory_gb=8.1, system="Linux 6, x86_64", versions={"numpy": "2.0"})
PRUNE = {"hard": {"part": "decoder", "sparsity": 0.9}}
INT8 = {"quantize": {"encoder": "int8", "decoder": "dynamic"}}
TRUTH = "a dog runs over green grass"
CAPTIONS = {TRUTH: 1.0, "a dog runs": 0.6, "two people sit": 0.1}


def speed(rate: float, *, threads: int = 1, batch: int = 8, beam_width: int = 3, **changes: Any) -> Speed:
    """A speed; only the larger batch is measured from files."""
    files = {"files_images_per_s": rate * 0.8} if batch > 1 else {}
    fields: dict[str, Any] = {
        "threads": threads,
        "batch": batch,
        "beam_width": beam_width,
        "images": 256,
        "repeats": 3,
        "p50_ms": 1000 * batch / rate,
        "p95_ms": 1100 * batch / rate,
        "images_per_s": rate,
        "spread": 0.04,
        "encode_images_per_s": rate * 1.5,
        "search_images_per_s": rate * 3,
    }
    return Speed(**(fields | files | changes))


def speeds(rate: float, *, threads: Sequence[int] = (1, 2), beam_widths: Sequence[int] = (1, 3)) -> tuple[Speed, ...]:
    """Speeds as a study measures them: narrower beams and more threads are faster, one image at a time is slower."""
    return tuple(
        speed(rate * number**0.8 * (1 if batch > 1 else 0.7) * 3 / width, threads=number, batch=batch, beam_width=width)
        for number in threads
        for width in beam_widths
        for batch in (1, 8)
    )


def quality(score: float, *, beam_width: int = 3, split: str = "dev", images: int = 12) -> Quality:
    """Scores around a CIDEr-D."""
    scores = {f"Bleu_{n}": score * (1 - n / 6) for n in range(1, 5)} | {"ROUGE_L": score * 0.7}
    scores |= {"CIDEr-D": score, "CIDEr": score * 1.1}
    return Quality(
        split=split,
        images=images,
        beam_width=beam_width,
        scores=scores,
        intervals={name: (value - 0.03, value + 0.03) for name, value in scores.items()},
        captions=f"captions-{split}-beam-{beam_width}.parquet",
        study_bleu={f"BLEU-{n}": score * (1.1 - n / 6) for n in range(1, 5)},
    )


def size(parameters: int, stored_bytes: int, nonzeros: int | None = None) -> Size:
    """A part's size."""
    return Size(
        parameters=parameters,
        nonzeros=parameters if nonzeros is None else nonzeros,
        distinct_values=1234.5,
        raw_bytes=2 * stored_bytes,
        stored_bytes=stored_bytes,
    )


def sizes(megabytes: float, *, zeros: float = 0.0) -> dict[str, Size]:
    """Sizes of the parts; zeros are the decoder's."""
    encoder, decoder = round(0.6e6 * megabytes), round(0.38e6 * megabytes)
    kept = round(1_000_000 * (1 - zeros))
    return {
        "encoder": size(2_000_000, encoder),
        "decoder": size(1_000_000, decoder, kept),
        "vocabulary": size(0, 20_000),
        "whole": size(3_000_000, round(1e6 * megabytes), 2_000_000 + kept),
    }


def measurement(variant: str, *steps: Mapping[str, Any], **changes: Any) -> Measurement:
    """A variant's measurement; without steps that of the captioner as it is."""
    fields: dict[str, Any] = {
        "variant": variant,
        "study": "pairs",
        "axes": {"variant": variant} if steps else {},
        "model": "model",
        "recipe": yaml.safe_dump(list(steps), sort_keys=False),
        "seed": 1 if steps else 0,
        "command": "python jobs/train_compress.py study pairs.yaml --model bundle",
        "bundle_id": f"tiny@{crc32(variant.encode()):012d}",
        "runtime": "litert" if any("quantize" in step for step in steps) else "tensorflow",
        "beam_width": 3,
        "random_weights": False,
        "sizes": sizes(10.0),
        "load_s": 0.25,
        "memory_mb": 210.0,
        "layers": (),
        "speed": speeds(100.0),
        "quality": (quality(0.55, beam_width=1), quality(0.6)),
        "machine": MACHINE,
        "steps": (),
    }
    return Measurement(**(fields | changes))


def layers(sparsity: float = 0.0, error: float | None = None, number: int = 4) -> tuple[Layer, ...]:
    """So many layers of each part."""
    names = [(part, f"{part}/block_{index}/kernel") for part in ("encoder", "decoder") for index in range(number)]
    return tuple(
        Layer(
            name=name,
            part=part,
            elements=1000 + index,
            sparsity=sparsity if part == "decoder" else 0.0,
            distinct_values=256,
            error=None if error is None else error * (1 + index),
        )
        for index, (part, name) in enumerate(names)
    )


def write_study(folder: Path, measurements: Sequence[Measurement], *, listed: Sequence[str] | None = None) -> Path:
    """A study's folder, as a run leaves it; returns it.

    Captions follow the scores: the better, the more images have the very words of their references.
    """
    names = [one.variant for one in measurements] if listed is None else list(listed)
    for number, one in enumerate(measurements):
        own = folder / "variants" / f"{number:02d}"
        own.mkdir(parents=True)
        (own / MEASUREMENT).write_text(one.model_dump_json(indent=1), encoding="utf-8")
        for scored in one.quality:
            write_captions(own / scored.captions, image_names(scored.images), _captions(scored))
    (folder / "study.json").write_text(json.dumps({"study": "pairs", "variants": names}), encoding="utf-8")
    return folder


def image_names(number: int) -> list[str]:
    """Names of images."""
    return [f"{index}.jpg" for index in range(number)]


def _captions(scored: Quality) -> list[str]:
    good = round(scored.images * min(scored.scores["CIDEr-D"], 1))
    return [_truth(index) if index < good else "two people sit" for index in range(scored.images)]


def _truth(index: int) -> str:
    return f"a dog number {index} runs over green grass"


def write_references(path: Path, number: int = 12) -> Path:
    """References in Flickr8k's form, two an image; returns the file."""
    lines = [f"{name}#{n}\t{_truth(i)}" for i, name in enumerate(image_names(number)) for n in (0, 1)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def example_study() -> list[Measurement]:
    """A captioner, pruned, in int8, both, and one whose encoder is random."""
    history = ({"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.5})
    errors = [{"name": "decoder/gone/kernel", "part": "decoder", "error": 0.02}]
    return [
        measurement("model as is", layers=layers()),
        measurement(
            "pruned",
            PRUNE,
            sizes=sizes(6.0, zeros=0.9),
            quality=(quality(0.5, beam_width=1), quality(0.58)),
            speed=speeds(101.0),
            layers=layers(0.9),
            steps=({"kind": "hard", "settings": {}, "history": history},),
        ),
        measurement(
            "int8",
            INT8,
            sizes=sizes(2.5),
            quality=(quality(0.54, beam_width=1), quality(0.59)),
            speed=speeds(310.0),
            layers=layers(error=0.01),
            steps=({"kind": "quantize", "settings": {}, "history": [], "layers": errors},),
        ),
        measurement(
            "pruned int8",
            PRUNE,
            INT8,
            sizes=sizes(1.4, zeros=0.9),
            quality=(quality(0.5, beam_width=1), quality(0.57)),
            speed=speeds(305.0),
            layers=layers(0.9, 0.01),
        ),
        measurement("wide", INT8, random_weights=True, quality=(), sizes=sizes(9.0), speed=speeds(80.0)),
    ]

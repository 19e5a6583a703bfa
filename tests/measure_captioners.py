"""Measures every encoder with every decoder: `python -m tests.measure_captioners [TRAINED_BUNDLE ...]`.

Prints a Markdown table of parameters, sizes and speed in float on the TensorFlow runtime. A trained bundle brings its
own weights and dev scores; all others have random weights, and speak for as many words as a trained one's mean.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from caption_core.bundle import Bundle, open_bundle
from caption_core.images import ImageLimits, decode_image
from caption_core.search import Images, State, Step
from caption_core.vocabulary import END

PHOTOGRAPHS = Path(__file__).resolve().parents[1] / "caption_core" / "assets" / "photographs"

_BATCH_IMAGES = 32
_WORDS = 11  # of a caption by one with random weights, which knows no end; about the mean of trained ones
_MEASURED_S = 4.0
_VOCABULARY_SIZE = 2540  # of Flickr8k's training captions
_DECODERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("merge", {}),
    ("soft_attention", {"cell": "gru"}),
    ("soft_attention", {"heads": 8}),
    ("up_down", {}),
    ("aoa", {"refining_layers": 1}),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table; times are seconds an image."""

    encoder: str
    decoder: str
    parameters: int
    encode_s: float
    search_s: float
    scores: str

    def markdown(self) -> str:
        """As a line of a Markdown table."""
        cells = (
            self.encoder,
            self.decoder,
            f"{self.parameters / 1e6:.2f}",
            f"{4 * self.parameters / 1e6:.1f}",
            f"{1000 * self.encode_s:.1f}",
            f"{1000 * self.search_s:.1f}",
            f"{1 / (self.encode_s + self.search_s):.1f}",
            self.scores,
        )
        return f"| {' | '.join(cells)} |"


@click.command()
@click.argument("trained", nargs=-1, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--threads", default=2, show_default=True, help="Threads of an operation.")
def main(trained: tuple[Path, ...], threads: int) -> None:
    """Print the table: TRAINED bundles first, then all pairs with random weights."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    print(
        "| encoder | decoder | parameters, M | float, MB | encode, ms | search, ms | images/s | dev CIDEr-D, BLEU-4 |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for path in trained:
        print(trained_row(open_bundle(path)).markdown(), flush=True)
    for row in random_rows():
        print(row.markdown(), flush=True)


def photographs(height: int, width: int) -> NDArray[np.uint8]:
    """A batch of the sample photographs, uint8 [batch, height, width, 3]."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    pixels = [decode_image(path.read_bytes(), (height, width), ImageLimits()).pixels for path in paths]
    return np.stack([pixels[index % len(pixels)] for index in range(_BATCH_IMAGES)])


def trained_row(bundle: Bundle) -> Row:
    """Measure a float bundle."""
    from caption_core.runtimes.tensorflow import load_model

    model = load_model(bundle)
    architecture = bundle.manifest.architecture
    metrics = bundle.manifest.metrics.get("dev split, greedy search")
    features, encode_s = _encode(model.encoder)
    return Row(
        architecture.encoder,
        _name(architecture.decoder, architecture.decoder_config),
        model.encoder.count_params() + model.decoder.count_params(),
        encode_s,
        _search_s(model.decoder, features, max_tokens=20, ends=True),
        f"{metrics['CIDEr-D']:.3f}, {metrics['Bleu_4']:.3f}" if metrics else "not recorded",
    )


def _name(decoder: str, config: dict[str, Any]) -> str:
    """A decoder with those of its settings that are not the default, dropout rates left out."""
    from caption_core.models.decoder_registry import decoder_config

    sizes = {name: config[name] for name in ("vocabulary_size", "feature_channels")}
    usual = asdict(decoder_config(decoder, sizes))
    differing = [f"{name} {value}" for name, value in config.items() if value != usual[name]]
    return ", ".join([decoder, *(entry for entry in differing if "_dropout" not in entry)])


def random_rows() -> Iterator[Row]:
    """Measure every pair with random weights."""
    from caption_core.models.architectures import ENCODERS, EncoderConfig
    from caption_core.models.decoder_registry import build_decoder
    from caption_core.models.encoders import build_encoder
    from caption_core.training.config import DecoderChoice

    for encoder_name in ENCODERS:
        for features, decoders in (("global", _DECODERS[:1]), ("grid", _DECODERS[1:])):
            encoder = build_encoder(EncoderConfig(encoder_name, features))
            encoded, encode_s = _encode(encoder)
            for kind, settings in decoders:
                sizes = {"vocabulary_size": _VOCABULARY_SIZE, "feature_channels": encoded.shape[-1]}
                config = DecoderChoice(kind, settings).config(**sizes)
                decoder = build_decoder(kind, config)
                parameters = encoder.count_params() + decoder.count_params()
                search_s = _search_s(decoder, encoded, max_tokens=_WORDS + 1, ends=False)
                yield Row(encoder_name, _name(kind, asdict(config)), parameters, encode_s, search_s, "random weights")


def _encode(encoder: Any) -> tuple[NDArray[np.float32], float]:
    """Features of the photographs, and seconds an image."""
    import tensorflow as tf

    pixels = tf.constant(photographs(*encoder.input_shape[1:3]), tf.float32)
    encode = tf.function(lambda images: encoder(images, training=False))
    return encode(pixels).numpy(), _seconds(lambda: encode(pixels).numpy()) / _BATCH_IMAGES


def _search_s(decoder: Any, features: NDArray[np.float32], *, max_tokens: int, ends: bool) -> float:
    """Seconds an image of greedy search; a decoder that does not end itself speaks up to the limit."""
    from caption_core.models.captioning import DecoderFunctions
    from caption_core.search import SearchSettings, search

    functions = DecoderFunctions(decoder)
    settings = SearchSettings(beam_width=1, max_tokens=max_tokens)

    def caption() -> None:
        state, step = functions.start(features)
        search(step if ends else _Endless(step), state, settings)

    return _seconds(caption) / _BATCH_IMAGES


@dataclass(frozen=True, slots=True)
class _Endless:
    """The same decoder, that never says the end token."""

    step: Step

    def __call__(self, tokens: NDArray[np.int32], state: State) -> tuple[NDArray[np.float32], State]:
        logits, state = self.step(tokens, state)
        return np.where(np.arange(logits.shape[-1]) == END, np.float32(-1e9), logits), state

    def of(self, images: Images) -> _Endless:
        return _Endless(self.step.of(images))


def _seconds(work: Callable[[], object]) -> float:
    """Of one call: the median of as many as fit into the time, after one that is not counted."""
    work()
    times: list[float] = []
    while sum(times) < _MEASURED_S:
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return float(np.median(times))


if __name__ == "__main__":
    main()

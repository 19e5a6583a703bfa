from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caption_core.bundle import open_bundle
from caption_core.captioner import load_captioner
from caption_core.errors import BundleError
from caption_core.runtimes.litert import LiteRTRuntime
from caption_core.runtimes.tensorflow import TensorFlowRuntime
from caption_core.search import SearchSettings, search
from tests.bundle_builders import COLOURS, PATTERNS, paint


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.stack([paint(colour, pattern) for colour in COLOURS for pattern in PATTERNS])


def test_both_runtimes_give_the_same_captions(
    tiny_bundle: Path, tiny_int8_bundle: Path, images: NDArray[np.uint8]
) -> None:
    exact = TensorFlowRuntime(open_bundle(tiny_bundle), threads=1)
    quantized = LiteRTRuntime(open_bundle(tiny_int8_bundle), threads=1)
    features = exact.encode(images)
    # An untrained encoder keeps little in int8, so the decoders are compared on the same features; the captioner that
    # comes with the project is compared as a whole.
    for width in (1, 3):
        settings = SearchSettings(beam_width=width, max_tokens=8)
        (state, step), (state8, step8) = exact.start(features), quantized.start(features)
        one, other = search(step, state, settings), search(step8, state8, settings)
        assert len(np.unique(one.tokens[:, 0], axis=0)) >= 4  # a constant would agree with anything
        assert np.mean(np.all(one.tokens[:, 0] == other.tokens[:, 0], axis=-1)) >= 0.9
        np.testing.assert_allclose(one.scores[:, 0], other.scores[:, 0], atol=0.1)


@pytest.mark.parametrize("kind", ["tiny_bundle", "tiny_int8_bundle"])
def test_a_caption_does_not_depend_on_its_batch(
    kind: str, request: pytest.FixtureRequest, images: NDArray[np.uint8]
) -> None:
    captioner = load_captioner(request.getfixturevalue(kind))
    together = captioner.caption(images)
    alone = [captioner.caption(image[None])[0] for image in images]
    assert [caption.text for caption in alone] == [caption.text for caption in together]
    np.testing.assert_allclose([c.score for c in alone], [c.score for c in together], atol=1e-4)


@pytest.mark.parametrize("kind", ["tiny_bundle", "tiny_int8_bundle"])
def test_candidates_do_not_depend_on_their_batch(
    kind: str, request: pytest.FixtureRequest, images: NDArray[np.uint8]
) -> None:
    captioner = load_captioner(request.getfixturevalue(kind))
    settings = SearchSettings(beam_width=4, max_tokens=8, candidates=4)
    together = captioner.caption(images, settings)
    for image, caption in zip(images, together, strict=True):
        (alone,) = captioner.caption(image[None], settings)
        assert [text for text, _ in alone.candidates] == [text for text, _ in caption.candidates]
        np.testing.assert_allclose([s for _, s in alone.candidates], [s for _, s in caption.candidates], atol=1e-4)


def test_captions_count_their_words(tiny_int8_bundle: Path, images: NDArray[np.uint8]) -> None:
    for caption in load_captioner(tiny_int8_bundle).caption(images):
        assert caption.num_tokens == len(caption.text.split()) > 0
        assert caption.score <= 0.0


def test_an_empty_batch_has_no_captions(tiny_int8_bundle: Path) -> None:
    assert load_captioner(tiny_int8_bundle).caption(np.zeros((0, 224, 224, 3), np.uint8)) == []


@pytest.mark.parametrize("shape", [(1, 100, 224, 3), (224, 224, 3), (1, 224, 224, 1)])
def test_images_of_another_shape_are_refused(tiny_int8_bundle: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not uint8"):
        load_captioner(tiny_int8_bundle).caption(np.zeros(shape, np.uint8))


def test_a_graph_that_is_no_graph_is_named(tiny_int8_bundle: Path, tmp_path: Path) -> None:
    from caption_core.bundle import open_bundle, write_bundle
    from caption_core.runtimes.litert import ENCODER

    bundle = open_bundle(tiny_int8_bundle)
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    files: dict[str, Path | bytes] = {name: bundle.path(name) for name in bundle.manifest.files}
    broken = write_bundle(tmp_path / "broken", fields, {**files, ENCODER: b"nonsense"})
    with pytest.raises(BundleError, match=ENCODER):
        load_captioner(broken.folder)


def test_candidates_come_best_first_and_begin_with_the_caption(
    tiny_int8_bundle: Path, images: NDArray[np.uint8]
) -> None:
    captioner = load_captioner(tiny_int8_bundle)
    for caption in captioner.caption(images, SearchSettings(beam_width=4, candidates=3)):
        texts, scores = zip(*caption.candidates, strict=True)
        assert 1 <= len(texts) <= 3
        assert (texts[0], scores[0]) == (caption.text, caption.score)
        assert list(scores) == sorted(scores, reverse=True)
        assert len(set(texts)) == len(texts)
    assert captioner.caption(images[:1])[0].candidates == ()


def test_the_time_of_both_stages_is_kept(tiny_int8_bundle: Path, images: NDArray[np.uint8]) -> None:
    captioner = load_captioner(tiny_int8_bundle)
    captioner.caption(images)
    assert captioner.encode_s > 0
    assert captioner.search_s > 0

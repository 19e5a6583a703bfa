import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from caption_core.bundle import MANIFEST, MODEL_CARD, VOCABULARY, open_bundle, record_metrics, write_bundle
from caption_core.errors import BundleError, UsageError
from caption_core.stored_files import MAX_EXPANDED_BYTES, compress

FIELDS: dict[str, Any] = {
    "name": "small",
    "runtime": "litert",
    "architecture": {"encoder": "mobilenet_v2", "decoder": "soft_attention", "decoder_config": {"units": 4}},
    "preprocessing": {"height": 224, "width": 224, "scale": 1.0, "offset": 0.0},
    "search": {"beam_width": 3, "max_tokens": 20, "length_penalty": 0.7},
    "provenance": {"trained_on": "nothing", "encoder_weights": "random", "command": "none", "seed": 1},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {VOCABULARY: b"a\ndog\n", MODEL_CARD: b"# small\n", "weights.bin": b"\0" * 10}
    return write_bundle(tmp_path / "bundle", FIELDS, files).folder


def edit(folder: Path, **changes: Any) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_written_bundle_opens_and_leaves_nothing_else_behind(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert bundle.model_id.startswith("small@")
    assert bundle.path("weights.bin").read_bytes() == b"\0" * 10
    assert bundle.num_bytes() == sum(path.stat().st_size for path in folder.iterdir())
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_an_altered_file_is_named(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"\1" * 10)
    with pytest.raises(BundleError, match=r"weights\.bin.*SHA-256"):
        open_bundle(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / VOCABULARY).unlink()
    with pytest.raises(BundleError, match=VOCABULARY):
        open_bundle(folder)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle here"):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 99}, "schema version 99"),
        ({"files": {"../outside": "0" * 64}}, "files"),
        ({"files": {"/etc/passwd": "0" * 64}}, "files"),
        ({"runtime": "pickle"}, "runtime"),
        ({"surprise": 1}, "surprise"),
        ({"architecture": {**FIELDS["architecture"], "decoder": "rnn"}}, "architecture.decoder.*unknown decoder 'rnn'"),
        ({"architecture": {**FIELDS["architecture"], "decoder_config": {"units": [4]}}}, "decoder_config.units"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_field_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder, **changes)
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"not json", b"\xff\xfe"])
def test_a_manifest_of_other_content_is_refused(folder: Path, content: bytes) -> None:
    (folder / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match=MANIFEST):
        open_bundle(folder)


def test_the_digest_follows_what_decides_captions_and_not_the_scores(folder: Path) -> None:
    before = open_bundle(folder).digest
    record_metrics(folder, "test split, beam 3", {"CIDEr-D": 0.5})
    assert open_bundle(folder).digest == before
    assert "0.500" in (folder / MODEL_CARD).read_text()
    edit(folder, search={"beam_width": 5, "max_tokens": 20, "length_penalty": 0.7})
    assert open_bundle(folder).digest != before


def test_writing_again_replaces_a_bundle_whole(folder: Path) -> None:
    write_bundle(folder, FIELDS, {"other.bin": b"1"})
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "other.bin"]
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_a_folder_that_is_no_bundle_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(UsageError, match="will not be replaced"):
        write_bundle(tmp_path, FIELDS, {})
    assert (tmp_path / "keep.txt").read_text() == "mine"


def test_a_failed_write_leaves_the_old_bundle(folder: Path) -> None:
    before = open_bundle(folder).digest
    with pytest.raises(BundleError, match="runtime"):
        write_bundle(folder, {**FIELDS, "runtime": "other"}, {"x.bin": b"1"})
    assert open_bundle(folder).digest == before
    assert [path.name for path in folder.parent.iterdir()] == ["bundle"]


def test_an_encoder_that_is_not_the_default_is_written_and_read_back(tmp_path: Path) -> None:
    settings = {"features": "global", "width": 0.5}
    architecture = {**FIELDS["architecture"], "encoder_config": settings}
    colours = {**FIELDS["preprocessing"], "scale": [1.0, 0.5, 0.25], "offset": [-3.0, -2.0, -1.0]}
    fields = {**FIELDS, "architecture": architecture, "preprocessing": colours}
    manifest = open_bundle(write_bundle(tmp_path / "bundle", fields, {}).folder).manifest
    assert manifest.architecture.encoder_config.model_dump() == settings
    assert manifest.preprocessing.offset == (-3.0, -2.0, -1.0)


def test_an_encoder_with_default_settings_has_the_id_that_it_had_before_there_were_any(tmp_path: Path) -> None:
    architecture = {**FIELDS["architecture"], "encoder_config": {"features": "grid", "width": 1.0}}
    stated = write_bundle(tmp_path / "a", {**FIELDS, "architecture": architecture}, {})
    assert stated.digest == write_bundle(tmp_path / "b", FIELDS, {}).digest
    assert "encoder_config" not in (stated.folder / MANIFEST).read_text()


def test_a_copied_bundle_has_the_same_id(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    assert open_bundle(copy).model_id == open_bundle(folder).model_id


WEIGHTS = b"\0\0\1\0" * 500


def record(content: bytes = WEIGHTS, **changes: Any) -> dict[str, Any]:
    """What a manifest says of a compressed file."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), **changes}


def compressed(folder: Path, *, codec: str = "zstd", content: bytes | None = None, **changes: Any) -> Path:
    """A bundle whose weights are compressed, if the `content` of their file says nothing else."""
    fields = {**FIELDS, "expanded": {"weights.bin.zst": record(**changes)}}
    files = {VOCABULARY: b"a\ndog\n", "weights.bin.zst": compress(WEIGHTS, codec) if content is None else content}
    return write_bundle(folder, fields, files).folder


def test_a_file_reads_the_same_compressed_or_not(tmp_path: Path) -> None:
    bundle = open_bundle(compressed(tmp_path / "bundle"))
    assert bundle.read("weights.bin") == WEIGHTS
    assert bundle.read(VOCABULARY) == b"a\ndog\n"
    assert (bundle.is_compressed("weights.bin"), bundle.is_compressed(VOCABULARY)) == (True, False)
    with pytest.raises(BundleError, match=r"names no file weights\.bin"):
        bundle.path("weights.bin")
    with pytest.raises(BundleError, match=r"names no file other\.bin"):
        bundle.read("other.bin")


def test_a_bundle_has_one_id_compressed_or_not(tmp_path: Path) -> None:
    plain = write_bundle(tmp_path / "plain", FIELDS, {VOCABULARY: b"a\ndog\n", "weights.bin": WEIGHTS})
    assert open_bundle(compressed(tmp_path / "bundle")).model_id == plain.model_id
    assert "expanded" not in (plain.folder / MANIFEST).read_text()


def test_the_bundled_captioner_keeps_its_id(bundled: Path) -> None:
    assert open_bundle(bundled / "captioner").model_id == "flickr8k-mobilenetv2-small@b8f3b6f30c51"


def test_scores_are_recorded_of_a_compressed_bundle(tmp_path: Path) -> None:
    folder = compressed(tmp_path / "bundle")
    assert record_metrics(folder, "test", {"CIDEr-D": 0.5}).read("weights.bin") == WEIGHTS


def test_what_a_parent_said_of_compressed_files_is_not_passed_on(tmp_path: Path) -> None:
    parent = open_bundle(compressed(tmp_path / "parent"))
    fields = parent.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    assert write_bundle(tmp_path / "child", fields, {"weights.bin": WEIGHTS}).manifest.expanded == {}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"codec": "xz"}, "truncated, damaged or not zstd"),
        ({"content": compress(WEIGHTS, "zstd")[:-3]}, "truncated, damaged or not zstd"),
        ({"content": compress(bytes(10_000_000), "zstd")}, "more than the recorded 2000 bytes"),
        ({"bytes": 1999}, "more than the recorded 1999 bytes"),
        ({"bytes": 2001}, "expands to 2000 bytes, not to the recorded 2001"),
        ({"sha256": "0" * 64}, "SHA-256 once it is expanded"),
    ],
)
def test_a_file_that_does_not_expand_as_recorded_is_named(tmp_path: Path, case: dict[str, Any], message: str) -> None:
    bundle = open_bundle(compressed(tmp_path / "bundle", **case))
    with pytest.raises(BundleError, match=rf"weights\.bin\.zst: .*{message}"):
        bundle.read("weights.bin")


@pytest.mark.parametrize(
    ("names", "expanded", "message"),
    [
        (["a.bin.zst"], {}, r"a\.bin\.zst and what it expands to"),
        (["a.bin", "a.bin.xz"], {"a.bin.xz": record()}, "two forms"),
        (["a.bin.zst"], {"a.bin.zst": record(bytes=MAX_EXPANDED_BYTES + 1)}, r"expanded\.a\.bin\.zst\.bytes"),
        (["a.bin.zst"], {"a.bin.zst": record(bytes=-1)}, r"expanded\.a\.bin\.zst\.bytes"),
    ],
)
def test_a_manifest_that_does_not_tell_what_files_expand_to_is_refused(
    tmp_path: Path, names: list[str], expanded: dict[str, Any], message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "bundle", {**FIELDS, "expanded": expanded}, dict.fromkeys(names, b"1"))

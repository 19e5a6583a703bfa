"""A captioner on disk: a folder with a JSON manifest, vocabulary, weights, checksums and a model card.

Nothing in a bundle is executable and nothing is a pickle. Every file is named by the manifest with its SHA-256. A file
may be there in compressed form (see `stored_files`); the manifest then also says what it expands to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from caption_core.errors import BundleError, UsageError
from caption_core.model_card import render_model_card
from caption_core.models.architectures import Colours, EncoderConfig
from caption_core.models.decoder_registry import DECODERS
from caption_core.search import SearchSettings
from caption_core.stored_files import MAX_EXPANDED_BYTES, expand, expanded_name, stored_names

MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.txt"
MODEL_CARD = "MODEL_CARD.md"
SCHEMA_VERSION: Final = 1

# A bundle's files lie flat in its folder: a name with a separator could lead out of it.
_FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Preprocessing(_Record):
    """How an image becomes the encoder's input: resized as a whole (aspect ratio not kept), RGB, 0 to 255."""

    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    resize: Literal["stretch"] = "stretch"
    interpolation: Literal["bilinear"] = "bilinear"
    # pixel * scale + offset, for all colours or for red, green and blue; computed inside the encoder's graph, recorded
    # here for the reader.
    scale: Colours
    offset: Colours


class Search(_Record):
    """Search defaults of the captioner (see `SearchSettings`)."""

    beam_width: int
    max_tokens: int
    length_penalty: float

    def settings(self) -> SearchSettings:
        """As validated settings."""
        return SearchSettings(self.beam_width, self.max_tokens, self.length_penalty)


class EncoderSettings(_Record):
    """What varies of an encoder beside its image size (see `EncoderConfig`)."""

    features: str = "grid"
    width: float = 1.0


class Architecture(_Record):
    """Names and sizes from which the graph can be rebuilt."""

    encoder: str
    encoder_config: EncoderSettings = EncoderSettings()
    decoder: str
    decoder_config: dict[str, int | float | str]

    @model_serializer(mode="wrap")
    def _without_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out the encoder's settings where they say nothing: bundles from before they were keep their id."""
        fields: dict[str, Any] = write(self)
        if self.encoder_config == EncoderSettings():
            del fields["encoder_config"]
        return fields

    @field_validator("decoder")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in DECODERS:
            raise ValueError(f"unknown decoder {name!r}; this program knows {', '.join(sorted(DECODERS))}")
        return name


class Provenance(_Record):
    """Where the captioner comes from."""

    trained_on: str
    encoder_weights: str
    command: str
    seed: int
    parent: str | None = None
    steps: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    notes: dict[str, str] = {}


class Expanded(_Record):
    """What a compressed file expands to: a cap for its reader, and proof of the content."""

    bytes: Annotated[int, Field(ge=0, le=MAX_EXPANDED_BYTES)]
    sha256: _Digest


class Manifest(_Record):
    """What a bundle says of itself."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: _Name
    runtime: Literal["tensorflow", "litert"]
    architecture: Architecture
    preprocessing: Preprocessing
    search: Search
    provenance: Provenance
    # Protocol ("flickr8k test, beam 3, ...") to metric name to score, as measured.
    metrics: dict[str, dict[str, float]] = {}
    files: dict[_FileName, _Digest]
    # Of those that are compressed.
    expanded: dict[_FileName, Expanded] = {}

    @model_serializer(mode="wrap")
    def _without_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out what says nothing: bundles from before files were compressed keep their id."""
        fields: dict[str, Any] = write(self)
        if not self.expanded:
            fields.pop("expanded", None)
        return fields

    @model_validator(mode="after")
    def _expands_what_is_compressed(self) -> Manifest:
        compressed = {name for name in self.files if expanded_name(name) != name}
        if compressed != self.expanded.keys():
            (name, *_) = sorted(compressed ^ self.expanded.keys())
            raise ValueError(f"expanded: {name} and what it expands to are not both recorded")
        if len(set(map(expanded_name, self.files))) != len(self.files):
            raise ValueError("files: one stands there in two forms")
        return self

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder to build.

        Raises:
            UsageError: there is no such encoder.
        """
        size = (self.preprocessing.height, self.preprocessing.width)
        settings = self.architecture.encoder_config.model_dump()
        return EncoderConfig(self.architecture.encoder, image_size=size, **settings)


class Bundle:
    """A verified bundle.

    Args:
        folder: where it is.
        manifest: its parsed manifest.
        digest: SHA-256 of what determines its captions: everything in the manifest but scores, notes, and in which form
            files are stored.
    """

    def __init__(self, folder: Path, manifest: Manifest, digest: str) -> None:
        self.folder, self.manifest, self.digest = folder, manifest, digest

    @property
    def model_id(self) -> str:
        """Name and digest, as written beside every caption."""
        return f"{self.manifest.name}@{self.digest[:12]}"

    def path(self, name: str) -> Path:
        """Path of one of the bundle's files.

        Raises:
            BundleError: the manifest doesn't name it.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.folder}: the manifest names no file {name}")
        return self.folder / name

    def is_compressed(self, name: str) -> bool:
        """Whether the folder holds a file in compressed form, and not under this name itself."""
        return self._stored_name(name) != name

    def read(self, name: str) -> bytes:
        """Content of one of the bundle's files, expanded where it is compressed.

        Args:
            name: the file's name, without the end that says how it is compressed.

        Raises:
            BundleError: the manifest doesn't name it, or it can't be read or expanded to what the manifest says.
        """
        stored = self._stored_name(name)
        path = self.path(stored)
        try:
            content = path.read_bytes()
            if stored == name:
                return content
            return _expand(content, stored.removeprefix(name), self.manifest.expanded[stored])
        except OSError as error:
            raise BundleError(f"{path}: a file of the bundle can't be read: {error.strerror}") from error
        except ValueError as error:
            raise BundleError(f"{path}: {error}") from error

    def _stored_name(self, name: str) -> str:
        return next((stored for stored in stored_names(name) if stored in self.manifest.files), name)

    def num_bytes(self) -> int:
        """Size of the whole folder's named files and the manifest, in bytes."""
        return sum((self.folder / name).stat().st_size for name in (*self.manifest.files, MANIFEST))


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest and check every file it names against its SHA-256.

    Raises:
        BundleError: the folder is no bundle, has another schema version, or a file is missing or altered.
    """
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BundleError(f"{folder}: no bundle here ({MANIFEST} is missing)") from error
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: not a bundle's manifest: {error}") from error
    manifest = _parse(path, document)
    for name, digest in manifest.files.items():
        _check(folder / name, digest)
    return Bundle(folder, manifest, _digest(manifest))


def _expand(content: bytes, ending: str, expected: Expanded) -> bytes:
    expanded = expand(content, ending, expected.bytes)
    if hashlib.sha256(expanded).hexdigest() != expected.sha256:
        raise ValueError("its SHA-256 once it is expanded is not the manifest's")
    return expanded


def _parse(path: Path, document: Any) -> Manifest:
    version = document.get("schema_version") if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise BundleError(f"{path}: schema version {version}; this program reads version {SCHEMA_VERSION}")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {f'{where}: ' if where else ''}{first['msg']}") from error


def _check(path: Path, expected: str) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise BundleError(f"{path}: a file of the bundle can't be read: {error.strerror}") from error
    if found != expected:
        raise BundleError(f"{path}: altered or incomplete: its SHA-256 is not the manifest's")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _digest(manifest: Manifest) -> str:
    document = manifest.model_dump(mode="json", exclude={"metrics", "provenance"})
    # The model card holds scores, and may be corrected without changing any caption.
    document["files"].pop(MODEL_CARD, None)
    # How a file is compressed decides no caption: a bundle keeps its id when its files are stored in another form.
    for name, expanded in document.pop("expanded", {}).items():
        del document["files"][name]
        document["files"][expanded_name(name)] = expanded["sha256"]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def write_bundle(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Path | bytes]) -> Bundle:
    """Write a bundle whole or not at all.

    Args:
        folder: the bundle's folder; an older bundle there is replaced.
        manifest: the manifest's fields but `files`, which is computed here; of `expanded`, what tells of other files
            than these is left out.
        files: content by file name, as bytes or as a path to copy.

    Raises:
        UsageError: the folder exists and is no bundle; nothing in it is touched.
        BundleError: the manifest's fields are not valid.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise UsageError(f"{folder}: exists and is not a bundle; it will not be replaced")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            _write(temporary / name, content)
        digests = {name: file_digest(temporary / name) for name in sorted(files)}
        expanded = {name: entry for name, entry in manifest.get("expanded", {}).items() if name in files}
        fields = {**manifest, "files": digests, "expanded": expanded}
        parsed = _parse(folder / MANIFEST, {"schema_version": SCHEMA_VERSION, **fields})
        text = json.dumps(parsed.model_dump(mode="json"), indent=2, ensure_ascii=False)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        _replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return open_bundle(folder)


def record_metrics(folder: Path, protocol: str, scores: Mapping[str, float]) -> Bundle:
    """Add measured scores to a bundle's manifest and model card; its digest stays as it is.

    Args:
        folder: the bundle.
        protocol: what was measured and how, e.g. "Flickr8k test, beam 3"; replaces an entry of that name.
        scores: metric name to score.
    """
    bundle = open_bundle(folder)
    fields = bundle.manifest.model_dump(mode="json", exclude={"files", "schema_version"})
    fields["metrics"][protocol] = dict(scores)
    files: dict[str, Path | bytes] = {name: folder / name for name in bundle.manifest.files}
    return write_bundle(folder, fields, {**files, MODEL_CARD: render_model_card(fields).encode()})


def _write(path: Path, content: Path | bytes) -> None:
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)


def _replace(new: Path, folder: Path) -> None:
    """Move a finished folder into place; a folder can't be replaced in one step, so the old one steps aside first."""
    if not folder.exists():
        os.replace(new, folder)
        return
    aside = new.with_name(new.name + "-old")
    os.replace(folder, aside)
    os.replace(new, folder)
    shutil.rmtree(aside)

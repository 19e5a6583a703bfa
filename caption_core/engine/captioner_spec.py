"""Which captioner a run uses: known to the driver without loading it, loaded by each worker."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import caption_core
from caption_core.bundle import MANIFEST, open_bundle
from caption_core.captioner import Captioner, load_captioner
from caption_core.errors import BundleError, UsageError
from caption_core.search import SearchSettings

PRECISIONS = ("float32", "bfloat16", "float16")
"""Of a float captioner's activations."""

DEFAULT_BUNDLE = Path(caption_core.__file__).resolve().parent / "assets" / "captioner"


@dataclass(frozen=True, slots=True)
class CaptionerSpec:
    """A captioner as the driver sees it.

    Attributes:
        model_id: name and digest, as it will stand beside each caption.
        search: its defaults.
        load: called once in each worker with the number of threads it may use; must be picklable.
        precision: of activations, where they are floats; one of `PRECISIONS`.
        runtime: that holds the weights, as a bundle's manifest names it; empty where nothing is known of it.
    """

    model_id: str
    search: SearchSettings
    load: Callable[[int], Captioner]
    precision: str = "float32"
    runtime: str = ""

    def check_gpus(self, claimed: float) -> None:
        """See to it that it can use the GPUs that its actors claim.

        Raises:
            UsageError: it runs on CPUs alone.
        """
        if claimed and self.runtime == "litert":
            raise UsageError(f"{self.model_id} is compressed and runs on CPUs: leave out --gpus-per-actor")


@dataclass(frozen=True, slots=True)
class ShippedBundle:
    """A bundle that travels to workers, whose machines may not have it.

    Attributes:
        folder: where it is on the driver's machine, and perhaps on the worker's.
        digest: of the bundle.
        files: content by file name, manifest included.
        precision: see `CaptionerSpec`.
    """

    folder: Path
    digest: str
    files: Mapping[str, bytes]
    precision: str = "float32"

    def __call__(self, threads: int) -> Captioner:
        """Load the captioner from the folder where it is the same here, else from the files sent along."""
        if self._is_here():
            return load_captioner(self.folder, threads=threads, precision=self.precision)
        # Once loaded, a captioner needs its files no more: weights are in memory, or in a mapping that outlives them.
        with tempfile.TemporaryDirectory(prefix="capstan-bundle-") as folder:
            for name, content in self.files.items():
                (Path(folder) / name).write_bytes(content)
            return load_captioner(Path(folder), threads=threads, precision=self.precision)

    def _is_here(self) -> bool:
        try:
            return open_bundle(self.folder).digest == self.digest
        except (BundleError, OSError):
            return False


def bundle_captioner(folder: Path, precision: str = "float32") -> CaptionerSpec:
    """The captioner of a bundle on this machine.

    Args:
        folder: the bundle.
        precision: see `CaptionerSpec`.

    Raises:
        BundleError: there is none, or it is damaged.
        UsageError: there is no such precision, or a compressed captioner is to compute in another than its own.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, not {precision}")
    bundle = open_bundle(folder)
    if precision != "float32" and bundle.manifest.runtime != "tensorflow":
        raise UsageError(
            f"{bundle.model_id} can't compute in {precision}: only float bundles can, and it is compressed"
        )
    names = (MANIFEST, *bundle.manifest.files)
    files = {name: (folder / name).read_bytes() for name in names}
    shipped = ShippedBundle(folder.resolve(), bundle.digest, files, precision)
    return CaptionerSpec(
        bundle.model_id, bundle.manifest.search.settings(), shipped, precision, runtime=bundle.manifest.runtime
    )

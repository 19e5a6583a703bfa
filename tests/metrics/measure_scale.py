"""Time and memory of scoring many captions, beside pycocoevalcap's: the table in docs/metrics.md.

    python -m tests.metrics.measure_scale make REFERENCES FOLDER --images N
    python -m tests.metrics.measure_scale ours FOLDER
    python -m tests.metrics.measure_scale pycocoevalcap FOLDER

`make` writes N captions and five references each as Parquet, from the texts of a references file: every word is
replaced with a chance of one in six, so that n-grams are as many and as rare as in a corpus of that size.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from caption_core.metrics.reference_files import ReferenceFile

_JOB = Path(__file__).resolve().parents[2] / "jobs" / "train_compress.py"
_ROWS = 20_000


@click.group()
def main() -> None:
    """Measure."""


@main.command()
@click.argument("references")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", default=1_000_000, show_default=True)
def make(references: str, folder: Path, images: int) -> None:
    """Write a corpus of N images."""
    texts = [t for b in ReferenceFile(references).batches(numeric_ids=True) for t in b.column("text").to_pylist()]
    words = [word for text in texts for word in text.split()]
    pick = random.Random(1)

    def vary(text: str) -> str:
        return " ".join(pick.choice(words) if pick.random() < 1 / 6 else word for word in text.split())

    for kind in ("captions", "references"):
        (folder / kind).mkdir(parents=True)
    for part, start in enumerate(range(0, images, _ROWS)):
        ids = [f"{number:08d}.jpg" for number in range(start, min(start + _ROWS, images))]
        captions = [vary(pick.choice(texts)) for _ in ids]
        own = [[vary(pick.choice(texts) if i else captions[n]) for i in range(5)] for n in range(len(ids))]
        pq.write_table(pa.table({"image_id": ids, "caption": captions}), folder / f"captions/part-{part:05d}.parquet")
        table = pa.table({"image_id": [i for i in ids for _ in range(5)], "caption": [t for o in own for t in o]})
        pq.write_table(table, folder / f"references/part-{part:05d}.parquet")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.argument("options", nargs=-1)
def ours(folder: Path, options: tuple[str, ...]) -> None:
    """Score with `train_compress.py evaluate`, without METEOR and SPICE."""
    with tempfile.TemporaryDirectory() as output:
        arguments = ["--captions", folder / "captions", "--references", folder / "references", "--output", output]
        command = [sys.executable, _JOB, "evaluate", *arguments, "--no-meteor-spice", *options]
        _measure([str(word) for word in command])


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def pycocoevalcap(folder: Path) -> None:
    """Score with pycocoevalcap: tokenization, BLEU, ROUGE-L, CIDEr-D."""
    _measure([sys.executable, "-c", _THEIR_SCORING, str(folder)])


_THEIR_SCORING = """
import sys
import pyarrow.parquet as pq
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

def read(kind):
    texts = {}
    for row in pq.read_table(f"{sys.argv[1]}/{kind}").to_pylist():
        texts.setdefault(row["image_id"], []).append({"caption": row["caption"]})
    return PTBTokenizer().tokenize(texts)

captions, references = read("captions"), read("references")
for scorer in (Bleu(4), Rouge(), Cider()):
    print(scorer.method(), scorer.compute_score(references, captions)[0])
"""


def _measure(command: list[str]) -> None:
    """Run a command and its children; print seconds and the peak of their memory, shared pages counted once."""
    started = time.monotonic()
    process = subprocess.Popen(command)
    peaks: dict[str, float] = {}
    sampler = threading.Thread(target=_sample, args=(process, peaks))
    sampler.start()
    code = process.wait()
    sampler.join()
    seconds = time.monotonic() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = ", ".join(f"{name} {peak / 1e6:,.0f} MB" for name, peak in sorted(peaks.items()))
    cpu = used.ru_utime + used.ru_stime  # of children that were waited for: not of Ray's workers
    print(f"exit code {code}, {seconds:.1f} s, {cpu:.1f} s of CPU; peak memory: {told}")


def _sample(process: subprocess.Popen[bytes], peaks: dict[str, float]) -> None:
    while process.poll() is None:
        sizes = {pid: _proportional_bytes(pid) for pid in _tree(process.pid)}
        now = {
            "all processes": float(sum(sizes.values())),
            "the main process": float(sizes.get(process.pid, 0)),
            "the largest other": float(max((size for pid, size in sizes.items() if pid != process.pid), default=0)),
        }
        for name, size in now.items():
            peaks[name] = max(peaks.get(name, 0), size)
        time.sleep(0.5)


def _tree(root: int) -> Iterator[int]:
    """A process and all that descend from it; Ray's daemons are in its session, not always below it."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    yield root
    for pid in parents:
        above = parents.get(pid)
        while above and above != root:
            above = parents.get(above)
        if above == root:
            yield pid


def _proportional_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()

"""Measures the job on large archives: `python -m tests.measure_archives --help`.

Makes what it is measured on (a manifest of any number of made-up addresses, the same photographs over and over in a tar
or a Parquet file), and watches the memory of a run's processes.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 65_536
_PAGE_BYTES = 4096


@click.group()
def main() -> None:
    """Make large archives, and watch runs over them."""


@main.command()
@click.argument("path", type=Path)
@click.argument("number", type=int)
def manifest(path: Path, number: int) -> None:
    """Write a Parquet manifest of NUMBER addresses."""
    schema = pa.schema([("url", pa.string()), ("id", pa.string())])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, number, _ROWS):
            rows = range(start, min(start + _ROWS, number))
            urls = [
                f"https://photos.example.org/archive/{row // 10_000:05d}/original/IMG_{row:08d}.jpg" for row in rows
            ]
            writer.write_table(pa.table([urls, [f"photo-{row:09d}" for row in rows]], schema=schema))


@main.command()
@click.argument("folder", type=Path)
@click.argument("path", type=Path)
@click.argument("number", type=int)
def repeat(folder: Path, path: Path, number: int) -> None:
    """Write NUMBER images into a .tar or .parquet file: those of FOLDER, again and again, under names of their own."""
    images = [
        file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix.lower() in (".jpg", ".jpeg", ".png")
    ]
    named = ((f"{index:07d}.jpg", images[index % len(images)]) for index in range(number))
    if path.suffix == ".parquet":
        _write_parquet(path, named)
    else:
        _write_tar(path, named)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--every-s", type=float, default=15.0)
@click.argument("command", nargs=-1, required=True)
def watch(every_s: float, command: tuple[str, ...]) -> None:
    """Run COMMAND and print the resident memory of its process and of its captioner actors, in MB, as time goes by."""
    begun_s = time.monotonic()
    process = subprocess.Popen(command)
    click.echo("seconds  driver  actors")
    while process.poll() is None:
        actors = sorted(_resident_mb(pid) for pid in _descendants(process.pid) if _is_actor(pid))
        sizes = " ".join(f"{size:.0f}" for size in actors) or "-"
        click.echo(f"{time.monotonic() - begun_s:7.0f} {_resident_mb(process.pid):7.0f}  {sizes}")
        end_s = time.monotonic() + every_s
        while process.poll() is None and time.monotonic() < end_s:
            time.sleep(0.2)
    raise SystemExit(process.returncode)


def _write_tar(path: Path, named: Iterator[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in named:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
            archive.members = []  # type: ignore[attr-defined]  # or it would keep every one of them


def _write_parquet(path: Path, named: Iterator[tuple[str, bytes]], rows_a_group: int = 2000) -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    with pq.ParquetWriter(path, pa.schema([("image", image)])) as writer:
        group: list[dict[str, object]] = []
        for name, data in named:
            group.append({"bytes": data, "path": name})
            if len(group) == rows_a_group:
                writer.write_table(pa.table({"image": pa.array(group, image)}))
                group = []
        if group:
            writer.write_table(pa.table({"image": pa.array(group, image)}))


def _descendants(pid: int) -> Iterator[int]:
    """Processes that a process started, and those that they did."""
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    todo = [pid]
    while todo:
        children = [child for child, parent in parents.items() if parent == todo[0]]
        yield from children
        todo = todo[1:] + children


def _parent(entry: Path) -> int:
    try:
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return -1


def _is_actor(pid: int) -> bool:
    try:
        return b"ShardActor" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _resident_mb(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES / 1e6
    except OSError:
        return 0.0


if __name__ == "__main__":
    main()

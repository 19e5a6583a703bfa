"""Builds images and folders of images, good and bad."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]


def encode(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def plain(colour: Colour = (200, 100, 50), size: tuple[int, int] = (40, 30), format_: str = "PNG") -> bytes:
    """An image of one colour; size is (width, height)."""
    return encode(Image.new("RGB", size, colour), format_)


def colour_of(index: int) -> Colour:
    """A colour of its own for each index up to 4,096, none of them special to the fake captioner."""
    return (index % 16) * 15, (index // 16 % 16) * 15, (index // 256 % 16) * 15


def gradient(width: int = 90, height: int = 60) -> Image.Image:
    """Red grows to the right, green downwards, so that every turn and flip shows."""
    across = np.tile(np.linspace(0, 255, width), (height, 1))
    down = np.tile(np.linspace(0, 255, height)[:, None], (1, width))
    return Image.fromarray(np.dstack([across, down, np.full_like(across, 60)]).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has hardly any data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 64)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def png_with_text_bomb(expanded_bytes: int) -> bytes:
    """A PNG whose text chunk is small and expands to a lot."""
    text = _png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * expanded_bytes, 9))
    image = plain()
    end_of_header = 8 + 25
    return image[:end_of_header] + text + image[end_of_header:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_images(folder: Path, number: int, *, first: int = 0) -> dict[str, Colour]:
    """Write images of one colour each, in two levels of folders; returns each one's colour by image id."""
    colours = {f"{index % 3}/{index:05d}.png": colour_of(index) for index in range(first, first + number)}
    for name, colour in colours.items():
        write_file(folder / name, plain(colour))
    return colours


def write_file(path: Path, data: bytes) -> Path:
    """Write a file, and its folder where that is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def written(path: Path) -> tuple[int, int]:
    """Which file it is and when it was written: the same as long as nobody writes it again."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def write_hostile_folder(folder: Path, outside: Path) -> dict[str, str]:
    """Write files that break naive programs; returns the error kind that each must end with, by image id.

    Args:
        folder: in the input.
        outside: a file that is not in the input, for a link to lead to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    photo = encode(gradient(), "JPEG")
    contents = {
        "cut_off.jpg": (photo[: len(photo) // 2], "corrupt"),
        "cut_off_in_header.png": (plain()[:20], "corrupt"),
        "empty.webp": (b"", "empty"),
        "huge.png": (png_header(50_000, 50_000), "too_many_pixels"),
        "no_image.gif": (b"<html>not found</html>", "not_an_image"),
        "noise.bmp": (b"BM" + bytes(range(256)), "corrupt"),
        "text_bomb.png": (png_with_text_bomb(100_000_000), "corrupt"),
        "zeros.tif": (bytes(5000), "not_an_image"),
    }
    for name, (data, _) in contents.items():
        write_file(folder / name, data)
    kinds = {name: kind for name, (_, kind) in contents.items()}
    return kinds | _write_special_files(folder, outside)


def _write_special_files(folder: Path, outside: Path) -> dict[str, str]:
    (folder / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "itself.jpg").symlink_to(folder / "itself.jpg")
    write_file(outside, plain())
    (folder / "leads_out.png").symlink_to(outside)
    os.mkfifo(folder / "pipe.jpg")
    return {
        "dangling.jpg": "not_found",
        "itself.jpg": "unreadable",
        "leads_out.png": "refused",
        "pipe.jpg": "unreadable",
    }


def write_oddly_named_images(folder: Path) -> Sequence[str]:
    """Write good images under names that break naive programs; returns their image ids."""
    names = {
        b"caf\xe9.png": r"caf\xe9.png",
        "żółw 🐢.png".encode(): "żółw 🐢.png",
        b"new\nline.png": "new\nline.png",
        b"back\\slash.png": "back\\slash.png",
        rb"literal\xe9.png": r"literal\x5cxe9.png",
        b"quote'\"`$(reboot).png": "quote'\"`$(reboot).png",
        b"percent%20.png": "percent%20.png",
        b"UPPER.PNG": "UPPER.PNG",
        b"-rf.png": "-rf.png",
        b"really_a_jpeg.gif": "really_a_jpeg.gif",
        b"x" * 251 + b".png": "x" * 251 + ".png",
        b"folder.jpg/inside.png": "folder.jpg/inside.png",
        b"_leading_underscore.png": "_leading_underscore.png",
    }
    for name in names:
        path = os.fsencode(folder) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(plain(format_="JPEG" if b"jpeg" in name else "PNG"))
    return list(names.values())

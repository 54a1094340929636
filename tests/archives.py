"""Makers of small data sets in the published layouts, and what a loopback server serves of them."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image


@dataclass
class LoopbackServer:
    """Serves ``contents``. ``drop_after``: bytes after which the next answers are cut off, one entry each."""

    contents: dict[str, bytes] = field(default_factory=dict)
    drop_after: list[int] = field(default_factory=list)
    ranges_supported: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


def png(image: np.ndarray) -> bytes:
    """A PNG file of a uint8 image, (H, W) grey or (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def random_image(rng: np.random.Generator, size: int = 16) -> np.ndarray:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def image_files(classes: dict[str, int], prefix: str = "", seed: int = 0, size: int = 16) -> dict[str, bytes]:
    """Files ``<prefix><class>/<number>.png`` with random images."""
    rng = np.random.default_rng([seed, len(prefix)])
    return {
        f"{prefix}{name}/{number:03}.png": png(random_image(rng, size))
        for name, count in classes.items()
        for number in range(count)
    }


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def as_tar(path: Path, files: dict[str, bytes], mode: str = "w:xz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


PACKERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "folder": lambda path, files: as_folder(path / "images", files),
    "zip": lambda path, files: as_zip(path / "images.zip", files),
    "tar": lambda path, files: as_tar(path / "images.tar", files, "w"),
    "tar.gz": lambda path, files: as_tar(path / "images.tar.gz", files, "w:gz"),
    "tar.xz": lambda path, files: as_tar(path / "images.tar.xz", files, "w:xz"),
}


def python2_pickle(content: dict[str, object]) -> bytes:
    """A pickle as Python 2 wrote it for CIFAR: byte strings for texts and for the array's memory, old numpy names."""
    return b"\x80\x02" + _python2(content) + b"."


def _python2(value: object) -> bytes:
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(k) + _python2(v) for k, v in value.items()) + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        return b"T" + struct.pack("<i", len(value)) + value.encode()
    assert isinstance(value, np.ndarray) and value.dtype == np.uint8
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    kind = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(_python2(length) for length in value.shape) + b"t"
    memory = b"T" + struct.pack("<i", value.size) + value.tobytes()
    return made + b"(K\x01" + shape + kind + b"\x89" + memory + b"tb"


def cifar_archive(
    folder: str, batches: dict[str, int], names_file: str, label_key: str, names_key: str, classes: int
) -> tuple[bytes, dict[str, tuple[np.ndarray, list[int]]]]:
    """A small tar.gz in the published layout, and what is in it: per batch, images (n, 32, 32, 3) and labels."""
    rng = np.random.default_rng(0)
    files, truth = {}, {}
    for name, count in batches.items():
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = [number % classes for number in range(count)]
        data = np.ascontiguousarray(images.transpose(0, 3, 1, 2).reshape(count, 3072))
        files[f"{folder}/{name}"] = python2_pickle({"data": data, label_key: labels})
        truth[name] = (images, labels)
    files[f"{folder}/{names_file}"] = python2_pickle({names_key: [f"class {number}" for number in range(classes)]})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue(), truth


def idx_file(values: np.ndarray) -> bytes:
    """A gzipped IDX file of unsigned bytes."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.tobytes())

"""Small archives made to cost hours or gigabytes are refused within seconds, in one sentence, in bounded memory."""

from __future__ import annotations

import io
import json
import lzma
import random
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from archives import as_folder, as_tar, as_zip, image_files
from PIL import Image
from support import PATIENCE_S

from kdengine.data import load_dataset
from kdengine.data.sources import guard
from kdengine.data.sources.examine import check_archive
from kdengine.errors import BadInput, DataError

ALONE = image_files({"cat": 3, "dog": 3})
SECONDS = 25.0
MEMORY_MIB = 250

CHECK = """
import json, pathlib, resource, sys, time
from kdengine.data.sources.examine import check_archive
from kdengine.errors import BadInput
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    begun = time.monotonic()
    try:
        said = str(check_archive(path))
    except BadInput as error:
        said = str(error)
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of all so far
    print(json.dumps([path.name, said, time.monotonic() - begun, most]))
"""


def header(name: str, kind: bytes, size: int, format: int = tarfile.GNU_FORMAT) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(format)


def packed(path: Path, *parts: bytes) -> Path:
    with lzma.open(path, "wb", preset=0) as file:
        for part in parts:
            file.write(part)
    return path


def pathological_pax(path: Path) -> Path:
    """tarfile looks for a field in it in a time that grows with the square of its length."""
    return packed(path, header("p", tarfile.XHDTYPE, 4 << 20), b"1" * (4 << 20))


def many_pathological_pax(path: Path) -> Path:
    """Each small enough to be a header."""
    one = header("p", tarfile.XHDTYPE, 16 << 10) + b"1" * (16 << 10) + header("x", tarfile.REGTYPE, 0)
    return packed(path, *[one] * 400)


def endless_name(path: Path) -> Path:
    return packed(path, header("p", tarfile.GNUTYPE_LONGNAME, 1 << 30), *[b"a" * (1 << 20)] * 48)


def chain_of_names(path: Path) -> Path:
    return packed(path, *[header("p", tarfile.GNUTYPE_LONGNAME, 0)] * 20_000)


def endless_sparse_map(path: Path) -> Path:
    fields = b"22 GNU.sparse.major=1\n" + b"22 GNU.sparse.minor=0\n"
    pax = header("p", tarfile.XHDTYPE, len(fields)) + fields.ljust(512, b"\0")
    return packed(path, pax, header("x", tarfile.REGTYPE, 1 << 26), b"99999999\n", *[b"1\n" * (1 << 19)] * 48)


def many_members(path: Path) -> Path:
    return packed(path, *[header("cat/a.png", tarfile.REGTYPE, 0) * 1000] * 40)


def huge_member(path: Path) -> Path:
    return packed(path, header("cat/a.png", tarfile.REGTYPE, 1 << 62), b"x" * 512)


def greedy_xz(path: Path) -> Path:
    """Asks for a dictionary of 4 GiB, which an unpacker sets aside at once."""
    raw = bytearray(lzma.compress(as_tar(path, ALONE, "w").read_bytes()))
    length = (raw[12] + 1) * 4
    place = raw.index(b"\x21\x01", 12) + 2
    raw[place] = 40
    raw[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(raw[12 : 12 + length - 4]))
    path.write_bytes(raw)
    return path


def lying_sizes(path: Path) -> Path:
    """300 MiB of zeros that claims to be a thousand bytes."""
    packer = zlib.compressobj(1, wbits=-15)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(300)] + [packer.flush()])
    names = ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" if name != "cat/0.png" else bomb)
        big = archive.filelist[0]
        big.compress_type, big.file_size = zipfile.ZIP_DEFLATED, 1000
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, 8, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", raw, 22, 1000)
    path.write_bytes(raw)
    return path


def packed_in_one_go(path: Path) -> Path:
    """zipfile unpacks a member of this kind whole, whatever length it claims."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in ALONE.items():
            archive.writestr(name, content)
    return path


def deep_name(path: Path) -> Path:
    return as_zip(path, ALONE | {"a/" * 1500 + "x.png": b"x"})


def long_name(path: Path) -> Path:
    return as_zip(path, ALONE | {"cat/" + "n" * 5000 + ".png": b"x"})


def bomb(path: Path) -> Path:
    """300 MiB of zeros, honestly sized."""
    return packed(path, header("cat/a.png", tarfile.REGTYPE, 300 << 20), *[bytes(1 << 20)] * 300)


def big_file(path: Path) -> Path:
    """As large, and not so empty that it looks like a bomb."""
    noise = random.Random(0).randbytes(7 << 18)
    return packed(path, header("cat/a.png", tarfile.REGTYPE, 300 << 20), noise, *[bytes(1 << 18)] * (1200 - 6))


def huge_images(path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("1", (9400, 9400)).save(buffer, "PNG")
    return as_zip(path, {f"{name}/{number}.png": buffer.getvalue() for name in "ab" for number in range(10)})


NASTY = {
    pathological_pax: "name and attributes take more than 64 KiB",
    many_pathological_pax: "take far longer to read than an archive of its size does",
    endless_name: "name and attributes take more than 64 KiB",
    chain_of_names: "name and attributes take more than 64 KiB",
    endless_sparse_map: "name and attributes take more than 64 KiB",
    many_members: "too many for its size",
    huge_member: "unpacks to more than 64 GiB",
    greedy_xz: "asks for more than 256 MiB of memory to be unpacked",
    lying_sizes: "without an image that opens: cat, dog",
    packed_in_one_go: "6 member(s) that are refused: 'cat/000.png' (packed by another method than deflate)",
    deep_name: "1500 folders in its name",
    long_name: "at most 4096 and 32 are accepted",
    bomb: "unpacks to more than 200 times its size, like a bomb",
    big_file: "314572800 bytes, at most 268435456 are accepted",
    huge_images: "unpack to more than 1000 megapixels",
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, float, float]]:
    """Of each nasty archive what was said, after how many seconds, and the most memory in MiB of any child so far."""
    folder = tmp_path_factory.mktemp("nasty")
    for make in NASTY:
        assert make(folder / make.__name__).stat().st_size < 2 << 20
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(folder)], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return {name: (said, seconds, mib) for name, said, seconds, mib in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("make", NASTY, ids=lambda make: make.__name__)
def test_nasty_archive_is_refused_soon_and_in_little_memory(checked: dict, make: Callable[[Path], Path]) -> None:
    said, seconds, mib = checked[make.__name__]
    assert NASTY[make] in said and make.__name__ in said and "\n" not in said
    assert seconds < SECONDS and mib < MEMORY_MIB


@pytest.mark.parametrize(
    "limit, most, said",
    [
        ("MAX_MEMBERS", 5, "more than 5 members"),
        ("MAX_NAMES_BYTES", 30, "the names of the members of p.zip take more than"),
    ],
)
def test_what_only_a_large_archive_reaches_has_an_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, said: str
) -> None:
    path = as_zip(tmp_path / "p.zip", ALONE)
    monkeypatch.setattr(guard, limit, most)
    with pytest.raises(DataError, match=said):
        load_dataset("folder", tmp_path / "ws" / "datasets", 16, options={"path": str(path)})


def test_huge_images_of_a_folder_stop_the_store_too(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9400, 9400)).save(buffer, "PNG")
    path = as_folder(tmp_path / "p", {f"{c}/{n}.png": buffer.getvalue() for c in "ab" for n in range(10)})
    with pytest.raises(DataError, match="p unpack to more than 1000 megapixels"):
        load_dataset("folder", tmp_path / "ws" / "datasets", 16, options={"path": str(path)})


@pytest.mark.parametrize("joined", [b"", b"\0" * 4096])
def test_xz_of_several_streams_is_read_to_the_end(tmp_path: Path, joined: bytes) -> None:
    plain = as_tar(tmp_path / "p.tar", ALONE, "w").read_bytes()
    cut = len(plain) // 2
    path = tmp_path / "p.tar.xz"
    path.write_bytes(lzma.compress(plain[:cut]) + joined + lzma.compress(plain[cut:]) + joined)
    assert check_archive(path).train == 4


def test_time_and_memory_of_the_child_have_an_end(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    path = as_zip(tmp_path / "p.zip", ALONE)
    with pytest.raises(BadInput, match=r"p\.zip was not read within 0 s"):
        check_archive(path, patience_s=0.0)
    big = as_tar(tmp_path / "big.tar", ALONE | {"cat/big.png": b"x" * (160 << 20)}, "w")
    with pytest.raises(BadInput, match=r"big\.tar takes more than 300 MiB of memory"):
        check_archive(big, memory_bytes=300 << 20)
    assert not set(psutil.Process().children()) - before


def test_one_image_of_too_many_pixels_is_left_out_and_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("1", (9600, 9600)).save(buffer, "PNG")
    found = check_archive(as_zip(tmp_path / "p.zip", ALONE | {"cat/big.png": buffer.getvalue()}))
    assert (found.train + found.test, found.corrupt) == (7, 1) and "cat/big.png: " in found.examples[0]


def test_what_is_found_is_told(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "p.zip", ALONE | {"cat/x.png": b"no image"})
    told: list[str] = []
    found = check_archive(path, lambda share, what: told.append(what))
    assert (found.classes, found.train, found.test, found.corrupt) == (("cat", "dog"), 5, 2, 1)
    assert found.examples[0].startswith("cat/x.png: not an image") and told[0] == "reading the names"

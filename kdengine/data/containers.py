"""Reads the files inside a folder, zip or tar without ever writing one; refuses what a careful person would not open.

Members are read in memory, so a name such as ``../x`` can do no harm; it is refused all the same, because an archive
that holds one was not made by a picture collection.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Container as Holds
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from kdengine import files
from kdengine.data.wording import some
from kdengine.errors import DataError

MAX_TOTAL_BYTES = 64 << 30
MAX_MEMBERS = 2_000_000
MAX_FILE_BYTES = 256 << 20
MAX_RATIO = 200
RATIO_CHECKED_ABOVE = 64 << 20

_BY_HAND = "if you trust it, unpack it yourself and give the folder"
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile)


@dataclass
class Listing:
    """What lies in a container: files and folders, as relative paths with '/' between the parts."""

    files: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)


class Container(ABC):
    """A folder or archive of files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def identity(self) -> str:
        """A text that changes when the content does."""

    @abstractmethod
    def listing(self) -> Listing:
        """All files and folders. Raises DataError when the container is damaged or unsafe, naming every offender."""

    @abstractmethod
    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        """Yields (path, content) of the files in ``wanted``, in the order that is cheapest to read.

        A single unreadable file comes with empty content; a container that breaks off raises DataError.
        """


def open_container(path: Path) -> Container:
    """The right reader for a path. Raises DataError when there is nothing, or nothing that can be read."""
    if path.is_dir():
        return FolderContainer(path)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder, a .zip or a .tar(.gz, .xz, .bz2) with pictures")
    if not path.is_file():
        raise DataError(f"{path} is neither a folder nor a file; give a folder, a .zip or a .tar(.gz, .xz, .bz2)")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path} cannot be read (no permission)")
    if zipfile.is_zipfile(path):
        return ZipContainer(path)
    return TarContainer(path)


class FolderContainer(Container):
    """A plain folder; links inside it are followed, since they are the owner's own."""

    def identity(self) -> str:
        seen = hashlib.sha256()
        listing = self.listing()
        for name in sorted(listing.files):
            seen.update(f"{name}\0{self._stamp(self.path / name)}\0".encode(errors="surrogateescape"))
        for name in sorted(listing.folders):
            seen.update(f"{name}/\0".encode(errors="surrogateescape"))
        return f"folder:{seen.hexdigest()}"

    def listing(self) -> Listing:
        listing = Listing()
        pending = [""]
        while pending:
            prefix = pending.pop()
            for entry in self._scan(prefix):
                name = prefix + entry.name
                if entry.is_dir():
                    listing.folders.add(name)
                    if name.count("/") < 8:  # no layout is deeper; keeps a link that leads back to itself harmless
                        pending.append(name + "/")
                elif entry.is_file() or entry.is_symlink():  # a link that leads nowhere is a picture that is missing
                    listing.files.append(name)
        return listing

    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        for name in sorted(self.listing().files):
            if name in wanted:
                yield name, self._content(self.path / name)

    def _scan(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path / prefix) as entries:
                return list(entries)
        except OSError as error:
            raise DataError(f"the folder {self.path / prefix} cannot be read: {error.strerror}") from error

    @staticmethod
    def _stamp(path: Path) -> str:
        try:
            status = path.stat()
        except OSError:
            return "not readable"
        return f"{status.st_size} {status.st_mtime_ns}"

    @staticmethod
    def _content(path: Path) -> bytes:
        try:
            return path.read_bytes() if path.stat().st_size <= MAX_FILE_BYTES else b""
        except OSError:
            return b""


class ZipContainer(Container):
    """A .zip file."""

    def identity(self) -> str:
        return f"sha256:{files.digest(self.path)}"

    def listing(self) -> Listing:
        guard = _Guard(self.path)
        with self._open() as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                reason = ""
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    reason = "a link" if kind == stat.S_IFLNK else "a device"
                elif member.flag_bits & 1:
                    reason = "encrypted"
                guard.add(member.filename, member.file_size, folder=member.is_dir(), reason=reason)
        return guard.finish()

    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        with self._open() as archive:
            for member in archive.infolist():
                name = _normal(member.filename)
                if not member.is_dir() and name in wanted:
                    yield name, self._content(archive, member)

    @staticmethod
    def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        try:
            with archive.open(member) as file:
                return file.read(MAX_FILE_BYTES)
        except (*_DAMAGED, OSError, NotImplementedError):
            return b""  # this member only: the others of a zip stand on their own

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                yield archive
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self.path} is damaged and cannot be read as a zip: {error}") from error


class TarContainer(Container):
    """A .tar file, plain or packed with gzip, xz or bzip2; read as a stream from start to end."""

    def identity(self) -> str:
        return f"sha256:{files.digest(self.path)}"

    def listing(self) -> Listing:
        guard = _Guard(self.path)
        for _, member in self._members():
            reason = ""
            if member.issym() or member.islnk():
                reason = "a link"
            elif member.issparse():
                reason = "a sparse file"
            elif not (member.isfile() or member.isdir()):
                reason = "a device"
            guard.add(member.name, member.size, folder=member.isdir(), reason=reason)
        return guard.finish()

    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        for archive, member in self._members():
            name = _normal(member.name)
            if member.isreg() and not member.issparse() and member.size <= MAX_FILE_BYTES and name in wanted:
                file = archive.extractfile(member)
                yield name, file.read() if file else b""

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        try:
            with _unpacked(self.path) as plain:
                stream = _BoundedStream(plain, self.path)
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    while (member := archive.next()) is not None:
                        yield archive, member
                        # tarfile remembers every header it met, and a big archive has a million of them
                        archive.members.clear()  # type: ignore[attr-defined]
                    # A damaged or missing header ends tarfile's reading as quietly as the true end, a block of zeros.
                    if stream.block(archive.offset) != tarfile.NUL * tarfile.BLOCKSIZE:
                        raise tarfile.ReadError("the end of the archive is missing")
        except (*_DAMAGED, OSError) as error:
            raise DataError(f"{self.path} is not an archive that can be read, or it breaks off: {error}") from error


class _BoundedStream(io.RawIOBase):
    """Counts what comes out of the decompressor and stops a bomb before it fills memory or hours."""

    def __init__(self, plain: IO[bytes], path: Path) -> None:
        self._plain = plain
        self._path = path
        self._packed_bytes = path.stat().st_size
        self._seen = 0
        self._recent = b""

    def read(self, size: int | None = -1) -> bytes:
        content = self._plain.read(-1 if size is None else size)
        self._seen += len(content)
        self._recent = (self._recent + content)[-4 * tarfile.RECORDSIZE :]
        _check_amount(self._path, self._seen, self._packed_bytes)
        return content

    def block(self, offset: int) -> bytes:
        """The 512 bytes at ``offset``, which must have been read lately."""
        start = offset - (self._seen - len(self._recent))
        return self._recent[start : start + tarfile.BLOCKSIZE] if start >= 0 else b""


class _Guard:
    """Collects the members of an archive, checks limits as they come and names all unsafe ones at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._packed_bytes = path.stat().st_size
        self._total = 0
        self._members = 0
        self._listing = Listing()
        self._names: set[str] = set()
        self._unsafe: list[str] = []

    def add(self, raw_name: str, size: int, *, folder: bool, reason: str) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise DataError(f"{self._path} holds more than {MAX_MEMBERS} members; {_BY_HAND}")
        self._total += size
        _check_amount(self._path, self._total, self._packed_bytes)
        name = _normal(raw_name)
        reason = reason or _unsafe_name(raw_name)
        if not reason and not folder and name in self._names:
            reason = "twice in the archive"
        if not reason and not folder and size > MAX_FILE_BYTES:
            reason = f"{size} bytes, at most {MAX_FILE_BYTES} are accepted"
        if reason:
            self._unsafe.append(f"{raw_name!r} ({reason})")
        elif folder:
            self._listing.folders.add(name)
        else:
            self._names.add(name)
            self._listing.files.append(name)

    def finish(self) -> Listing:
        if self._unsafe:
            raise DataError(
                f"{self._path} holds {len(self._unsafe)} member(s) that are refused: {some(self._unsafe)}; "
                "pack plain files under relative names, each once"
            )
        return self._listing


def _check_amount(path: Path, unpacked: int, packed: int) -> None:
    if unpacked > MAX_TOTAL_BYTES:
        raise DataError(f"{path} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB; {_BY_HAND}")
    if unpacked > RATIO_CHECKED_ABOVE and unpacked > MAX_RATIO * packed:
        raise DataError(f"{path} unpacks to more than {MAX_RATIO} times its size, like a bomb; {_BY_HAND}")


def _normal(name: str) -> str:
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def _unsafe_name(name: str) -> str:
    name = name.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return "an absolute name"
    if ".." in name.split("/"):
        return "leads out of the archive"
    return ""


def _unpacked(path: Path) -> IO[bytes]:
    """The file's content, decompressed on the fly; the kind is told by the first bytes, not by the name."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path)  # type: ignore[return-value]
    if head.startswith(b"\xfd7zXZ"):
        return lzma.open(path)
    if head.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")

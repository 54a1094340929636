"""Reads the files inside a folder, zip or tar without ever writing one; refuses what a careful person would not open.

Members are read in memory, so a name such as ``../x`` can do no harm; it is refused all the same, because an archive
that holds one was not made by an image collection.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from collections.abc import Container as Holds
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from typing_extensions import override

from kdengine.data.sources.guard import MAX_FILE_BYTES, Guard, Listing, check_amount, normal_name
from kdengine.data.sources.names import decoded, readable
from kdengine.data.sources.unpacking import unpacked
from kdengine.errors import DataError
from kdengine.workspace import files

MAX_HEADER_BYTES = 64 << 10
HEADERS_FREE_S = 1.0
HEADERS_BYTES_PER_S = 1 << 20
_UTF8_FLAG = 0x800
_CHUNK = 1 << 20
_NOT_READ = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!\x1a\x07": "rar", b"\x28\xb5\x2f\xfd": "zstd", b"MSCF": "cab"}
# Of the others zipfile unpacks what it has read in one go: 242 bytes of bzip2 can become 300 MiB.
_UNPACKED_IN_STEPS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class Container(ABC):
    """A folder or archive of files.

    Args:
        path: where it lies.
        name: what messages call it; default its own name, without the folders it lies in.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path = path
        self.name = readable(name or path.name or str(path))

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


def open_container(path: Path, name: str = "") -> Container:
    """The right reader for a path. Raises DataError when there is nothing, or nothing that can be read.

    Args:
        path: a folder or an archive.
        name: what messages call it; default the name of the folder or file.
    """
    if path.is_dir():
        return FolderContainer(path, name)
    if not path.exists():
        raise DataError(f"{path} does not exist; give a folder, a .zip or a .tar(.gz, .xz, .bz2) with images")
    name = name or path.name
    if not path.is_file():
        raise DataError(f"{name} is neither a folder nor a file; give a folder, a .zip or a .tar(.gz, .xz, .bz2)")
    if not os.access(path, os.R_OK):
        raise DataError(f"{name} cannot be read (no permission)")
    if zipfile.is_zipfile(path):
        return ZipContainer(path, name)
    if kind := _kind_not_read(path):
        raise DataError(f"{name} is a {kind} archive, which is not read here; unpack it and pack its content as .zip")
    return TarContainer(path, name)


def _kind_not_read(path: Path) -> str:
    """Which other kind of archive it is, by its first bytes; "" for none that is known."""
    with path.open("rb") as file:
        head = file.read(max(map(len, _NOT_READ)))
    return next((kind for mark, kind in _NOT_READ.items() if head.startswith(mark)), "")


class FolderContainer(Container):
    """A plain folder; links inside it are followed, since they are the owner's own."""

    @override
    def identity(self) -> str:
        seen = hashlib.sha256()
        listing = self.listing()
        for name in sorted(listing.files):
            seen.update(f"{name}\0{self._stamp(self.path / name)}\0".encode(errors="surrogateescape"))
        for name in sorted(listing.folders):
            seen.update(f"{name}/\0".encode(errors="surrogateescape"))
        return f"folder:{seen.hexdigest()}"

    @override
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
                elif entry.is_file() or entry.is_symlink():  # a link that leads nowhere is an image that is missing
                    listing.files.append(name)
        return listing

    @override
    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        for name in sorted(self.listing().files):
            if name in wanted:
                yield name, self._content(self.path / name)

    def _scan(self, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self.path / prefix) as entries:
                return list(entries)
        except OSError as error:
            raise DataError(
                f"the folder {readable(f'{self.name}/{prefix}')} cannot be read: {error.strerror}"
            ) from error

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

    @override
    def identity(self) -> str:
        return f"sha256:{files.digest(self.path)}"

    @override
    def listing(self) -> Listing:
        guard = Guard(self.path, self.name)
        with self._open() as archive:
            for member in archive.infolist():
                kind = stat.S_IFMT(member.external_attr >> 16)
                reason = ""
                if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                    reason = "a link" if kind == stat.S_IFLNK else "a device"
                elif member.flag_bits & 1:
                    reason = "encrypted"
                elif member.compress_type not in _UNPACKED_IN_STEPS:
                    reason = "packed by another method than deflate"
                guard.add(_zip_name(member), member.file_size, folder=member.is_dir(), reason=reason)
        return guard.finish()

    @override
    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        packed, seen = self.path.stat().st_size, 0
        with self._open() as archive:
            for member in archive.infolist():
                name = normal_name(_zip_name(member))
                if not member.is_dir() and name in wanted:
                    content = self._content(archive, member)
                    seen += len(content)
                    check_amount(self.name, seen, packed)
                    yield name, content

    @staticmethod
    def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
        try:
            with archive.open(member) as file:
                # Step by step: asked for all, it unpacks all there is before it checks the length it was given.
                return b"".join(iter(partial(file.read, _CHUNK), b""))
        except MemoryError:
            raise
        except Exception:  # this member only: the others of a zip stand on their own
            return b""

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.name} says that its names are UTF-8, but {error.object!r} is not; pack it anew"
            ) from error
        except MemoryError:
            raise
        except Exception as error:  # whatever the bytes of a stranger bring it to
            raise DataError(f"{self.name} is damaged and cannot be read as a zip: {error}") from error
        with archive:
            yield archive


def _zip_name(member: zipfile.ZipInfo) -> str:
    """A member's name; without the flag for UTF-8 zipfile takes every name for the code page of the first PC."""
    if member.flag_bits & _UTF8_FLAG:
        return member.filename
    try:
        return decoded(member.filename.encode("cp437"), "cp437")
    except UnicodeEncodeError:  # a name in Unicode that stood beside it
        return member.filename


class TarContainer(Container):
    """A .tar file, plain or packed with gzip, xz or bzip2; read as a stream from start to end."""

    @override
    def identity(self) -> str:
        return f"sha256:{files.digest(self.path)}"

    @override
    def listing(self) -> Listing:
        guard = Guard(self.path, self.name)
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

    @override
    def read(self, wanted: Holds[str]) -> Iterator[tuple[str, bytes]]:
        for archive, member in self._members():
            name = normal_name(member.name)
            if member.isreg() and not member.issparse() and member.size <= MAX_FILE_BYTES and name in wanted:
                file = archive.extractfile(member)
                yield name, file.read() if file else b""

    def _members(self) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
        try:
            with unpacked(self.path, self.name) as plain:
                stream = _BoundedStream(plain, self.path, self.name)
                with tarfile.open(fileobj=stream, mode="r|") as archive:
                    while (member := stream.timed(archive.next)) is not None:
                        stream.header_starts_at(None)
                        yield archive, member
                        # tarfile remembers every header it met, and a big archive has a million of them
                        archive.members.clear()  # type: ignore[attr-defined]
                        stream.header_starts_at(archive.offset)
                    # A damaged or missing header ends tarfile's reading as quietly as the true end, a block of zeros.
                    if stream.block(archive.offset) != tarfile.NUL * tarfile.BLOCKSIZE:
                        raise tarfile.ReadError("the end of the archive is missing")
        except (DataError, MemoryError):
            raise
        except Exception as error:  # whatever the bytes of a stranger bring the decoders to
            raise DataError(f"{self.name} is not an archive that can be read, or it breaks off: {error}") from error


class _BoundedStream(io.RawIOBase):
    """Counts what comes out of the decompressor and stops a bomb before it fills memory or hours."""

    def __init__(self, plain: IO[bytes], path: Path, name: str) -> None:
        self._plain = plain
        self._name = name
        self._packed_bytes = path.stat().st_size
        self._seen = 0
        self._recent = b""
        self._header: int | None = 0
        self._spent_s = 0.0

    def read(self, size: int | None = -1) -> bytes:
        content = self._plain.read(-1 if size is None else size)
        self._seen += len(content)
        self._recent = (self._recent + content)[-4 * tarfile.RECORDSIZE :]
        check_amount(self._name, self._seen, self._packed_bytes)
        if self._header is not None and self._seen - self._header > MAX_HEADER_BYTES:
            raise DataError(
                f"{self._name} has a member whose name and attributes take more than {MAX_HEADER_BYTES >> 10} KiB, "
                "as no packer writes them; pack plain files anew"
            )
        return content

    def header_starts_at(self, offset: int | None) -> None:
        """Where the header that is read next begins; None while content is read, whose length is checked elsewhere.

        tarfile holds a header, all its extensions with it, in memory, whatever length it claims.
        """
        self._header = offset

    def timed(self, read_header: Callable[[], tarfile.TarInfo | None]) -> tarfile.TarInfo | None:
        """Calls it. Raises DataError when headers have cost more computing than so many bytes can.

        Those of a certain kind take tarfile a time that grows with the square of their length.
        """
        begun = time.thread_time()
        member = read_header()
        self._spent_s += time.thread_time() - begun
        if self._spent_s > HEADERS_FREE_S + self._seen / HEADERS_BYTES_PER_S:
            raise DataError(
                f"the headers of {self._name} take far longer to read than an archive of its size does; "
                "pack plain files anew"
            )
        return member

    def block(self, offset: int) -> bytes:
        """The 512 bytes at ``offset``, which must have been read lately."""
        start = offset - (self._seen - len(self._recent))
        return self._recent[start : start + tarfile.BLOCKSIZE] if start >= 0 else b""

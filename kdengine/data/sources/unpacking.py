"""Unpacks gzip, xz and bzip2 on the fly, never in more memory than a file of its kind may ask for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from pathlib import Path
from typing import IO, Any

from kdengine.errors import DataError

MAX_XZ_MEMORY = 256 << 20
_CHUNK = 1 << 20


def unpacked(path: Path, name: str) -> IO[bytes]:
    """The file's content, decompressed on the fly; the kind is found by the first bytes, not by the name."""
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path)  # type: ignore[return-value]
    if head.startswith(b"\xfd7zXZ"):
        return io.BufferedReader(_Xz(path, name), _CHUNK)
    if head.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")


class _Xz(io.RawIOBase):
    """Unpacks .xz within ``MAX_XZ_MEMORY``: a file can ask for gigabytes, and Python's own reader obeys."""

    def __init__(self, path: Path, name: str) -> None:
        self._file = path.open("rb")
        self._name = name
        self._unpacker = _new_unpacker()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            content = b""
            if self._unpacker.eof:
                # Files may be joined, with zeros between them.
                content = self._unpacker.unused_data.lstrip(b"\0")
                while not content and (chunk := self._file.read(_CHUNK)):
                    content = chunk.lstrip(b"\0")
                if not content:
                    return 0
                self._unpacker = _new_unpacker()
            elif self._unpacker.needs_input and not (content := self._file.read(_CHUNK)):
                raise EOFError("the packed data end before their end mark")
            try:
                unpacked = self._unpacker.decompress(content, len(buffer))
            except lzma.LZMAError as error:
                if "memory" not in str(error).lower():
                    raise
                wanted = f"more than {MAX_XZ_MEMORY >> 20} MiB of memory to be unpacked"
                raise DataError(f"{self._name} asks for {wanted}; pack it anew with xz -6") from error
            if unpacked:
                buffer[: len(unpacked)] = unpacked
                return len(unpacked)

    def close(self) -> None:
        self._file.close()
        super().close()


def _new_unpacker() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

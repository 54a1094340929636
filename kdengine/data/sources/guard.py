"""What a stranger's archive may hold: names, sizes and amounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kdengine.data.sources.names import readable
from kdengine.data.wording import some
from kdengine.errors import DataError

MAX_TOTAL_BYTES = 64 << 30
MAX_MEMBERS = 2_000_000
MEMBERS_CHECKED_ABOVE = 20_000
MIN_MEMBER_BYTES = 64
MAX_FILE_BYTES = 256 << 20
MAX_NAME_BYTES = 4096
MAX_NAMES_BYTES = 256 << 20
MAX_DEPTH = 32
MAX_RATIO = 200
RATIO_CHECKED_ABOVE = 64 << 20
BY_HAND = "if you trust it, unpack it yourself and give the folder"


@dataclass
class Listing:
    """What lies in a container: files and folders, as relative paths with '/' between the parts."""

    files: list[str] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)


class Guard:
    """Collects the members of an archive, checks limits as they come and names all unsafe ones at the end."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._packed_bytes = path.stat().st_size
        self._most = min(MAX_MEMBERS, MEMBERS_CHECKED_ABOVE + self._packed_bytes // MIN_MEMBER_BYTES)
        self._total = 0
        self._members = 0
        self._names_bytes = 0
        self._listing = Listing()
        self._names: set[str] = set()
        self._unsafe: list[str] = []

    def add(self, raw_name: str, size: int, *, folder: bool, reason: str) -> None:
        """Takes a member; raises DataError for more than is accepted."""
        self._members += 1
        if self._members > self._most:
            raise DataError(f"{self._name} holds more than {self._most} members, too many for its size; {BY_HAND}")
        self._total += size
        check_amount(self._name, self._total, self._packed_bytes)
        self._check_name(raw_name)
        name = normal_name(raw_name)
        reason = reason or unsafe_name(raw_name)
        if not reason and not folder and name in self._names:
            reason = "twice in the archive"
        if not reason and not folder and size > MAX_FILE_BYTES:
            reason = f"{size} bytes, at most {MAX_FILE_BYTES} are accepted"
        if reason:
            self._unsafe.append(f"'{readable(raw_name)}' ({reason})")
        elif folder:
            self._listing.folders.add(name)
        else:
            self._names.add(name)
            self._listing.files.append(name)

    def _check_name(self, name: str) -> None:
        """What is kept of each member is its name: one that is too long, or all of them, would fill the memory."""
        self._names_bytes += len(name)
        if len(name) > MAX_NAME_BYTES or name.count("/") > MAX_DEPTH:
            raise DataError(
                f"{self._name} has a member of {len(name)} characters and {name.count('/')} folders in its name "
                f"({readable(name[:40])}...); at most {MAX_NAME_BYTES} and {MAX_DEPTH} are accepted"
            )
        if self._names_bytes > MAX_NAMES_BYTES:
            raise DataError(f"the names of the members of {self._name} take more than {MAX_NAMES_BYTES >> 20} MiB")

    def finish(self) -> Listing:
        """What is there; raises DataError, naming every unsafe member."""
        if self._unsafe:
            raise DataError(
                f"{self._name} holds {len(self._unsafe)} member(s) that are refused: {some(self._unsafe)}; "
                "pack plain files under relative names, each once"
            )
        return self._listing


def check_amount(name: str, unpacked: int, packed: int) -> None:
    """Raises DataError for an archive that unpacks to too much."""
    if unpacked > MAX_TOTAL_BYTES:
        raise DataError(f"{name} unpacks to more than {MAX_TOTAL_BYTES >> 30} GiB; {BY_HAND}")
    if unpacked > RATIO_CHECKED_ABOVE and unpacked > MAX_RATIO * packed:
        raise DataError(f"{name} unpacks to more than {MAX_RATIO} times its size, like a bomb; {BY_HAND}")


def normal_name(name: str) -> str:
    """A member's path with '/' between its parts and no dots."""
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", "."))


def unsafe_name(name: str) -> str:
    """Why a member's name is refused; "" for one that is fine."""
    name = name.replace("\\", "/")
    if name.startswith("/") or name[1:2] == ":":
        return "an absolute name"
    if ".." in name.split("/"):
        return "leads out of the archive"
    return ""

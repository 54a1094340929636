"""What a GPU said when its memory ran out: how much was wanted, how much was free. From texts, without torch."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNITS = {"bytes": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})\b"


class Shortage(NamedTuple):
    """What a message says, in bytes; None for what it leaves out.

    Attributes:
        wanted: the one piece that could not be had.
        free: on the card, at that moment.
        total: of the card.
        held: by this process, with what CUDA itself takes where the message counts that.
        allowed: to this process, where it may not use the whole card.
    """

    wanted: int | None = None
    free: int | None = None
    total: int | None = None
    held: int | None = None
    allowed: int | None = None


# Of each the forms from PyTorch 1.0 on, newest first; 2.1 spells it "capacty". "Process 7 has ... in use" is another's.
_FORMS: dict[str, tuple[str, ...]] = {
    "wanted": (rf"Tried to allocate {_SIZE}",),
    "free": (rf"of which {_SIZE} is free", rf"{_SIZE} free\b"),
    "total": (rf"total capaci?ty of {_SIZE}", rf"{_SIZE} total capacity"),
    "held": (
        rf"this process has {_SIZE} memory in use",
        rf"Of the allocated memory {_SIZE} is allocated by PyTorch",
        rf"{_SIZE} already allocated",
    ),
    "allowed": (rf"{_SIZE} allowed\b",),
}


def read_shortage(text: str) -> Shortage:
    """The numbers in a message of PyTorch's allocator; all None for one without numbers, as of cuBLAS."""
    text = " ".join(text.split())
    return Shortage(**{name: _first(forms, text) for name, forms in _FORMS.items()})


def sentence(text: str) -> str:
    """The same as a sentence; with the message itself where it names no number."""
    found = read_shortage(text)
    if found.wanted is None:
        return f"the GPU ran out of memory ({' '.join(text.split())[:300]})"
    parts = [f"the GPU ran out of memory: {amount(found.wanted)} more were needed"]
    if found.free is not None:
        of = f" of its {amount(found.total)}" if found.total is not None else ""
        parts.append(f"{amount(found.free)}{of} were free")
    if found.held is not None:
        parts.append(f"this run held {amount(found.held)}")
    if found.allowed is not None:
        parts.append(f"it may hold {amount(found.allowed)}")
    return ", ".join(parts)


def amount(size: float) -> str:
    """Bytes in the units of PyTorch and nvidia-smi: 2.0 GiB, 512 MiB, 20 KiB."""
    for unit in ("GiB", "MiB", "KiB"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.{1 if unit == 'GiB' else 0}f} {unit}"
    return f"{size:.0f} bytes"


def _first(forms: tuple[str, ...], text: str) -> int | None:
    for form in forms:
        found = re.search(form, text)
        if found:
            return round(float(found[1]) * _UNITS[found[2]])
    return None

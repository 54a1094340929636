"""Which kind of processor this is: what speed depends on, recognised also where a host hides the processor's name.

Machines for hire often say no more than "AMD EPYC" or "Intel(R) Xeon(R) Processor", so vendor, family, model and the
instruction sets that matter to a network stand beside the name. Read from ``/proc/cpuinfo``, on macOS from ``sysctl``.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

CPUINFO = Path("/proc/cpuinfo")
SYSCTL_S = 5.0

_VENDORS = {"genuineintel": "Intel", "authenticamd": "AMD"}
_IMPLEMENTERS = {
    "0x41": "ARM", "0x46": "Fujitsu", "0x48": "HiSilicon", "0x4e": "NVIDIA", "0x51": "Qualcomm", "0x61": "Apple",
    "0xc0": "Ampere",
}  # fmt: skip
# What a vendor adds to a name without telling processors apart, the nominal clock among it.
_EMPTY = re.compile(r"\((r|tm|c)\)|@.*|\b(cpu|processor|\d+-core)\b|\bwith radeon.*", re.IGNORECASE)
_FEATURE = re.compile(r"hw\.optional\.(?:arm\.)?(?:feat_)?(\w+)")


class Processor(NamedTuple):
    """One kind of processor.

    Attributes:
        name: for people, such as "AMD EPYC, family 26, model 2, AVX-512, bfloat16".
        slug: the same for file names and keys: lower-case letters, digits and hyphens.
        vendor: "AMD", "Intel", "ARM", "Apple", ...; "" where it is not known.
        stepping: of the model, as the system writes it; "" where it is not known. Not part of the name.
        has_avx2: 256-bit vectors of whole numbers, and fused multiply-add with them.
        has_avx512: its foundation (AVX-512F).
        has_avx512_bf16: products of bfloat16 numbers in AVX-512.
        has_amx: matrix tiles of Intel's AMX.
        has_arm_bf16: products of bfloat16 numbers on an ARM processor.
    """

    name: str
    slug: str
    vendor: str = ""
    stepping: str = ""
    has_avx2: bool = False
    has_avx512: bool = False
    has_avx512_bf16: bool = False
    has_amx: bool = False
    has_arm_bf16: bool = False


@cache
def processor() -> Processor:
    """The one that this process runs on."""
    if sys.platform == "darwin":
        return from_sysctl(_sysctl())
    try:
        return from_cpuinfo(CPUINFO.read_text())
    except OSError:
        return named(platform.processor() or platform.machine())


def from_cpuinfo(text: str) -> Processor:
    """Reads the text of ``/proc/cpuinfo``, of an x86 or ARM processor; every core of an ARM one counts."""
    cores = [_fields(block) for block in text.split("\n\n")]
    cores = [core for core in cores if {"vendor_id", "model name", "cpu part"} & set(core)]
    if not cores:
        return named(platform.machine())
    first = cores[0]
    flags = set(first.get("flags", first.get("features", "")).split())
    parts = sorted({core["cpu part"] for core in cores if "cpu part" in core})
    if parts:
        implementer = first.get("cpu implementer", "")
        vendor = _IMPLEMENTERS.get(implementer, f"implementer {implementer}".strip())
        return named(first.get("model name", ""), vendor, [f"part {part}" for part in parts], flags, arm=True)
    place = [f"{word} {first[key]}" for word, key in (("family", "cpu family"), ("model", "model")) if key in first]
    vendor = _VENDORS.get(first.get("vendor_id", "").lower(), first.get("vendor_id", ""))
    return named(first.get("model name", ""), vendor, place, flags, first.get("stepping", ""))


def from_sysctl(text: str) -> Processor:
    """Reads what macOS's ``sysctl machdep.cpu hw.optional`` prints, on a Mac with an Apple or an Intel processor."""
    fields = _fields(text)
    found = {key: value for key, value in fields.items() if value not in ("", "0")}
    features = {match[1] for key in found if (match := _FEATURE.fullmatch(key))}
    place = [f"{word} {found[f'machdep.cpu.{word}']}" for word in ("family", "model") if f"machdep.cpu.{word}" in found]
    vendor = _VENDORS.get(found.get("machdep.cpu.vendor", "").lower(), "Apple")
    # Apple's own are recognised by their names; what sysctl calls family and model is another thing there.
    place = [] if vendor == "Apple" else place
    stepping = found.get("machdep.cpu.stepping", "")
    return named(found.get("machdep.cpu.brand_string", ""), vendor, place, features, stepping, arm=vendor == "Apple")


def named(
    name: str,
    vendor: str = "",
    place: list[str] | tuple[str, ...] = (),
    flags: set[str] | frozenset[str] = frozenset(),
    stepping: str = "",
    arm: bool = False,
) -> Processor:
    """Puts a name, and with it the slug, together from what is known.

    Args:
        name: as the system gives it, clock and marks included.
        vendor: in a word.
        place: what distinguishes processors of one name, such as "family 6" and "model 143".
        flags: of the instruction sets, as Linux writes them.
        stepping: as the system writes it.
        arm: where "bf16" is a flag of its own.
    """
    short = " ".join(_EMPTY.sub(" ", name).split())
    if vendor.lower() not in short.lower():
        short = f"{vendor} {short}".strip()
    has = {
        "has_avx2": "avx2" in flags or "avx2_0" in flags,
        "has_avx512": "avx512f" in flags,
        "has_avx512_bf16": "avx512_bf16" in flags,
        "has_amx": "amx_tile" in flags,
        "has_arm_bf16": arm and "bf16" in flags,
    }
    bf16 = has["has_avx512_bf16"] or has["has_arm_bf16"]
    vectors = [word for word, there in (("AVX-512", has["has_avx512"]), ("AVX2", has["has_avx2"])) if there][:1]
    sets = [*vectors, *(["SVE"] if "sve" in flags else []), *(["bfloat16"] if bf16 else [])]
    sets += ["AMX"] if has["has_amx"] else []
    full = ", ".join((short or "unknown processor", *place, *sets))
    # As these sets are written in keys and file names everywhere: avx512, bf16.
    keyed = full.lower().replace("avx-512", "avx512").replace("bfloat16", "bf16")
    return Processor(full, re.sub(r"[^a-z0-9]+", "-", keyed).strip("-"), vendor, stepping, **has)


def _fields(text: str) -> dict[str, str]:
    """``key : value`` lines by the key in lower case; the first of two that are equal."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def _sysctl() -> str:
    try:
        asked = ["sysctl", "machdep.cpu", "hw.optional"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=SYSCTL_S).stdout
    except (OSError, subprocess.SubprocessError):
        return ""

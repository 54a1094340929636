"""Processors are told apart by what speed hangs on, also where the host hides their names."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from kdengine.machine.processor import from_cpuinfo, from_sysctl, named, processor


def x86(vendor: str, name: str, family: int, model: int, stepping: int, flags: str) -> str:
    core = (
        f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\nmodel name\t: {name}\n"
        f"stepping\t: {stepping}\ncpu MHz\t\t: 2596.1\nflags\t\t: fpu vme {flags}\nbugs\t\t: spectre_v1\n"
    )
    return "\n".join(f"processor\t: {number}\n{core}" for number in range(2))


ZEN5 = x86("AuthenticAMD", "AMD EPYC", 26, 2, 1, "avx avx2 avx512f avx512bw avx512_bf16 avx512_vnni")
SAPPHIRE = x86(
    "GenuineIntel", "Intel(R) Xeon(R) Processor", 6, 143, 8, "avx2 avx512f avx512_bf16 amx_bf16 amx_tile amx_int8"
)
CASCADE = x86("GenuineIntel", "Intel(R) Xeon(R) Processor @ 2.50GHz", 6, 85, 7, "avx2 avx512f avx512_vnni")
MILAN = x86("AuthenticAMD", "AMD EPYC 7B13 64-Core Processor", 25, 1, 1, "avx avx2")
GRAVITON3 = "\n".join(
    f"processor\t: {number}\nBogoMIPS\t: 2100.00\nFeatures\t: fp asimd asimddp sve i8mm bf16\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd40\nCPU revision\t: 1\n"
    for number in range(2)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "name", "slug"),
    [
        (ZEN5, "AMD EPYC, family 26, model 2, AVX-512, bfloat16", "amd-epyc-family-26-model-2-avx512-bf16"),
        (
            SAPPHIRE,
            "Intel Xeon, family 6, model 143, AVX-512, bfloat16, AMX",
            "intel-xeon-family-6-model-143-avx512-bf16-amx",
        ),
        (CASCADE, "Intel Xeon, family 6, model 85, AVX-512", "intel-xeon-family-6-model-85-avx512"),
        (MILAN, "AMD EPYC 7B13, family 25, model 1, AVX2", "amd-epyc-7b13-family-25-model-1-avx2"),
        (GRAVITON3, "ARM, part 0xd40, SVE, bfloat16", "arm-part-0xd40-sve-bf16"),
    ],
    ids=["zen5", "sapphire rapids", "cascade lake", "milan", "graviton3"],
)
def test_a_processor_is_named_by_what_speed_hangs_on(text: str, name: str, slug: str) -> None:
    found = from_cpuinfo(text)
    assert (found.name, found.slug) == (name, slug)


def test_the_instruction_sets_are_told() -> None:
    told = {
        name: tuple(from_cpuinfo(text)[4:])
        for name, text in {"zen5": ZEN5, "sapphire": SAPPHIRE, "milan": MILAN, "graviton3": GRAVITON3}.items()
    }
    # AVX2, AVX-512, its bfloat16, AMX, bfloat16 of ARM
    assert told == {
        "zen5": (True, True, True, False, False),
        "sapphire": (True, True, True, True, False),
        "milan": (True, False, False, False, False),
        "graviton3": (False, False, False, False, True),
    }
    assert from_cpuinfo(SAPPHIRE).vendor == "Intel" and from_cpuinfo(SAPPHIRE).stepping == "8"


@pytest.mark.parametrize("hidden", ["amx_tile", "avx512_bf16", "avx512f"])
def test_one_model_with_a_set_hidden_by_its_host_is_another_kind(hidden: str) -> None:
    without = from_cpuinfo(SAPPHIRE.replace(hidden, "nothing"))
    assert without.slug != from_cpuinfo(SAPPHIRE).slug


def test_clock_and_stepping_do_not_make_another_kind() -> None:
    other = CASCADE.replace("@ 2.50GHz", "@ 2.20GHz").replace("stepping\t: 7", "stepping\t: 6")
    assert from_cpuinfo(other).slug == from_cpuinfo(CASCADE).slug


def test_large_and_small_cores_are_one_processor() -> None:
    mixed = GRAVITON3.replace("0xd40", "0xd0b", 1)
    assert from_cpuinfo(mixed).slug == "arm-part-0xd0b-part-0xd40-sve-bf16"
    assert from_cpuinfo(GRAVITON3.replace("0x41", "0x99")).slug == "implementer-0x99-part-0xd40-sve-bf16"


def test_a_mac_tells_by_sysctl() -> None:
    apple = "machdep.cpu.brand_string: Apple M2 Pro\nmachdep.cpu.core_count: 10\nhw.optional.arm.FEAT_BF16: {}\n"
    assert from_sysctl(apple.format(1)).slug == "apple-m2-pro-bf16" and from_sysctl(apple.format(1)).has_arm_bf16
    assert from_sysctl(apple.format(0)).slug == "apple-m2-pro"
    intel = (
        "machdep.cpu.vendor: GenuineIntel\nmachdep.cpu.brand_string: Intel(R) Core(TM) i9-9980HK CPU @ 2.40GHz\n"
        "machdep.cpu.family: 6\nmachdep.cpu.model: 158\nmachdep.cpu.stepping: 13\n"
        "hw.optional.avx2_0: 1\nhw.optional.avx512f: 0\n"
    )
    assert from_sysctl(intel).slug == "intel-core-i9-9980hk-family-6-model-158-avx2"
    assert from_sysctl("").slug == "apple"


@pytest.mark.parametrize("text", ["", "\n\n", "processor : 0\nhart : 1\n"])
def test_where_nothing_is_told_the_architecture_is(text: str) -> None:
    assert from_cpuinfo(text) == named(platform.machine())
    assert named("").slug == "unknown-processor"


def test_this_machine_is_asked_once() -> None:
    found = processor()
    assert found is processor() and found.slug
    if Path("/proc/cpuinfo").is_file():
        flags = Path("/proc/cpuinfo").read_text().split()
        assert found.has_avx512 == ("avx512f" in flags) and found.has_amx == ("amx_tile" in flags)

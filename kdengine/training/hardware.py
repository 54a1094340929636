"""Which device computes, at what precision, with how many threads; and what to record of it."""

from __future__ import annotations

import os
import platform
import random
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from kdengine.errors import BadInput, Problem
from kdengine.spec import RuntimeSpec


def pick_device(name: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:<n>``; raises BadInput naming the devices there are."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        there = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
        raise BadInput(Problem("runtime.device", f"there is no device {name!r} here; there are: {there}"))
    return device


class Precision(NamedTuple):
    """What forward passes compute in; weights, losses and the optimiser stay in float32.

    Attributes:
        student: of the student, under autocast; None = float32.
        teacher: of the teacher.
        tf32: whether products of float32 numbers may be computed by tensor cores, which read eleven bits of each.
    """

    student: torch.dtype | None = None
    teacher: torch.dtype | None = None
    tf32: bool = False

    @property
    def word(self) -> str:
        """As ``runtime.precision`` says it."""
        if self.student is not None:
            return WORDS[self.student]
        return "bf16_teacher" if self.teacher is not None else "tf32" if self.tf32 else "fp32"

    @property
    def of_teacher(self) -> str:
        """The same of what the teacher computes in."""
        return WORDS[self.teacher] if self.teacher is not None else "tf32" if self.tf32 else "fp32"


WORDS = {torch.bfloat16: "bf16", torch.float16: "fp16"}
TF32_SINCE = (8, 0)


def choose_precision(precision: str, device: torch.device) -> Precision:
    """What to compute in: ``auto`` takes bfloat16 on GPUs that have it, float16 on older ones, float32 on a CPU.

    Raises:
        BadInput: what is asked for is not there, or would be slower than float32.
    """
    if precision == "fp32" or (precision == "auto" and device.type == "cpu"):
        return Precision()
    if precision == "tf32":
        if device.type != "cuda" or torch.cuda.get_device_capability(device) < TF32_SINCE:
            raise _refusal(f"this {device.type} has no TF32, which GPUs have from Ampere on; choose fp32 or auto")
        return Precision(tf32=True)
    if precision == "fp16" and device.type != "cuda":
        raise _refusal(f"float16 is for GPUs, this is a {device.type}; choose fp32 or auto")
    if precision == "fp16" or (precision == "auto" and not has_fast_bf16(device)):
        return Precision(student=torch.float16, teacher=torch.float16)
    if not has_fast_bf16(device):
        others = "fp32 or auto" if device.type == "cpu" else "fp16, fp32 or auto"
        raise _refusal(f"this {device.type} has no fast bfloat16; choose {others} ({precision} would be slower)")
    return Precision(student=None if precision == "bf16_teacher" else torch.bfloat16, teacher=torch.bfloat16)


def _refusal(message: str) -> BadInput:
    return BadInput(Problem("runtime.precision", message))


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 faster than in float32: not where that is emulated, as before Ampere."""
    if device.type == "cuda":
        with torch.cuda.device(device):  # it is asked of the current one
            found: bool = torch.cuda.is_bf16_supported(including_emulation=False)
            return found
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def configure(runtime: RuntimeSpec, device: torch.device, threads: int | None = None) -> int:
    """Sets threads, autotuning and determinism of this process; returns the number of threads.

    Args:
        threads: of the run's first attempt, when it is resumed: the sum order of a CPU kernel depends on it.
    """
    count = threads or runtime.threads or default_threads()
    torch.set_num_threads(count)
    if device.type == "cuda":
        if device.index is not None:
            # Libraries and graphs work on the current device, wherever a tensor lies.
            torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not runtime.deterministic
        # Of what is not under autocast: losses on relations, for example, and all of a network in fp32.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = runtime.precision == "tf32"
        if runtime.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
    return count


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_threads() -> int:
    """Threads of a run that names none: what ``OMP_NUM_THREADS`` says, else all cores."""
    said = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(said) if said.isdigit() and int(said) > 0 else available_cores()


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def describe(device: torch.device, threads: int, precision: Precision) -> dict[str, Any]:
    """What to record of an attempt: versions, hardware, threads, precision, commit."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("kdengine", "torch", "torchvision", "timm", "numpy", "mlflow")},
        "source": str(_source_commit()),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": threads,
        "precision": precision.word,
        "platform": platform.platform(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _source_commit() -> str:
    """Commit of the checkout this package runs from, with "+" when it has been changed; "" outside a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return ""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=5
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")

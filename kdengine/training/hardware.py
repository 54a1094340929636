"""Which device computes, at what precision, with how many threads; and what to record of it."""

from __future__ import annotations

import os
import platform
import random
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

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


def use_bf16(precision: str, device: torch.device) -> bool:
    """Whether to run under bfloat16 autocast.

    ``auto`` takes it on GPUs that have it. On a CPU it is refused where it would be slower (no AVX512-BF16, no AMX).
    """
    if precision == "fp32":
        return False
    if device.type == "cuda":
        has = torch.cuda.is_bf16_supported()
    else:
        has = precision == "bf16" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    if precision == "bf16" and not has:
        raise BadInput(
            Problem(
                "runtime.precision",
                f"this {device.type} has no fast bfloat16; choose fp32 or auto (bf16 would be slower)",
            )
        )
    return has


def configure(runtime: RuntimeSpec, device: torch.device, threads: int | None = None) -> int:
    """Sets threads, autotuning and determinism of this process; returns the number of threads.

    Args:
        threads: of the run's first attempt, when it is resumed: the sum order of a CPU kernel depends on it.
    """
    count = threads or runtime.threads or default_threads()
    torch.set_num_threads(count)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = not runtime.deterministic
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
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


def describe(device: torch.device, threads: int, bf16: bool) -> dict[str, Any]:
    """What to record of an attempt: versions, hardware, threads, precision, commit."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in ("kdengine", "torch", "torchvision", "timm", "numpy", "mlflow")},
        "source": str(_source_commit()),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": threads,
        "precision": "bf16" if bf16 else "fp32",
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

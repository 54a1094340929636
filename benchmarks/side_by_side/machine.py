"""What a part was measured on and with: machine, versions, commit, and the code whose speed it is."""

from __future__ import annotations

import hashlib
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from kdengine.machine.processor import processor

ROOT = Path(__file__).parents[2]
PACKAGES = ("torchdistill", "timm", "torchvision")
# What decides how fast an arm is; how results are judged and shown is no part of it.
MEASURED = ("kdengine/**/*.py", *(f"benchmarks/side_by_side/{name}.py" for name in ("arms", "epoch", "timing")),
            "benchmarks/side_by_side/other_packages.py")  # fmt: skip


def describe(device: torch.device, threads: int) -> dict[str, Any]:
    """What ran on what; "machine" is the name of processor or GPU for people, "processor" the same for files."""
    own = processor()
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        "machine": card or own.name,
        "processor": re.sub(r"[^a-z0-9]+", "-", card.lower()).strip("-") or own.slug,
        **({"host": own.name} if card else {}),
        "threads": threads,
        "torch": torch.__version__,
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": commit(),
        "source": source(),
    }


def commit() -> str:
    """Commit of the checkout, with "+" when measured code has been changed since; "" outside a checkout."""
    head = _git("rev-parse", "--short", "HEAD")
    return head + ("+" if head and _git("status", "--porcelain", "--", "kdengine", "benchmarks/side_by_side") else "")


def source() -> str:
    """Twelve digits that change with the code that is measured, committed or not, in a checkout or a copy."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in MEASURED for path in ROOT.glob(pattern)):
        digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _git(*words: str) -> str:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

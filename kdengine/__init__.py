"""Knowledge distillation of image classifiers: describe an experiment, run it, resume it, compare it.

from kdengine import ExperimentSpec, run
result = run(ExperimentSpec(method="dkd", teacher="resnet8x4", student="mobilenetv3_small"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdengine.runner import RunResult, run
    from kdengine.spec import ExperimentSpec

__version__ = "0.1.0"
__all__ = ["ExperimentSpec", "RunResult", "run"]


def __getattr__(name: str) -> Any:
    # Imported on first use: `kd --help` must not wait for torch.
    if name == "ExperimentSpec":
        from kdengine.spec import ExperimentSpec

        return ExperimentSpec
    if name in ("run", "RunResult"):
        import importlib

        return getattr(importlib.import_module("kdengine.runner"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

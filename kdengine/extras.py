"""Packages that only a part of the program needs, and what to install where one is missing."""

from __future__ import annotations

import importlib.util

from kdengine.errors import BadInput, Problem

EXTRAS = {
    "ui": ("gradio", "orjson", "uvicorn", "httpx", "plotly", "networkx"),
    "studies": ("optuna", "sqlalchemy", "cmaes"),
    "track": ("mlflow",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
}
"""Extra of the package -> what it brings; as in pyproject.toml."""


def extra_of(package: str) -> str | None:
    """The extra that brings a package; None for one that every installation has, or that is none of ours."""
    top = package.partition(".")[0]
    return next((extra for extra, packages in EXTRAS.items() if top in packages), None)


def missing(package: str) -> BadInput | None:
    """What to say to a person who needs a package of an extra that is not installed; None for other packages."""
    extra = extra_of(package)
    if extra is None:
        return None
    message = (
        f"found no package {package.partition('.')[0]}, which this needs; install it: pip install 'kdengine[{extra}]'"
    )
    return BadInput(Problem("", message))


def require(*packages: str) -> None:
    """Raises BadInput for the first of these that is not installed."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing(package) or BadInput(Problem("", f"found no package {package}"))

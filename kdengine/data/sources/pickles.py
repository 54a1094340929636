"""Reads a pickle of numpy arrays, bytes, texts, numbers and containers of them, and nothing that runs code."""

from __future__ import annotations

import io
import pickle
from typing import Any

from kdengine.errors import DataError

_ALLOWED = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }
)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise DataError(f"it asks for {module}.{name}, which data has no need of; the file was not loaded")
        if module == "numpy.core.multiarray":
            module = "numpy._core.multiarray"
        return super().find_class(module, name)


def load_plain(content: bytes, origin: str) -> Any:
    """Unpickles; texts of Python 2 are read as latin-1. Raises DataError naming ``origin`` (the file's name)."""
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="latin1").load()
    except DataError as error:
        raise DataError(f"{origin} is not a plain data file: {error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise DataError(f"{origin} cannot be read as a pickle: {error}") from error

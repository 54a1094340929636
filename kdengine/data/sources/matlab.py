"""Numeric arrays out of MATLAB files (formats 4 to 7), read by SciPy, which runs nothing that a file holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kdengine.errors import DataError


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """The arrays of those names, only these being read. Raises DataError when one is missing or holds no numbers."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=names)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        raise DataError(f"{path} cannot be read as a MATLAB file of format 4 to 7: {error}") from error
    for name in names:
        if not isinstance(content.get(name), np.ndarray) or content[name].dtype.kind not in "iuf":
            raise DataError(f"{path} holds no array of numbers {name!r}; it is not the published file")
    return [content[name] for name in names]

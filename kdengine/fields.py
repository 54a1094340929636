"""Where plug-ins of the first version find `Settings` and `setting`: they are in `kdengine.methods` now."""

from __future__ import annotations

import warnings

from kdengine.spec.fields import NoSettings, Settings, setting

__all__ = ["NoSettings", "Settings", "setting"]

warnings.warn(
    "kdengine.fields goes with the next version: write `from kdengine.methods import Settings, setting`",
    DeprecationWarning,
    stacklevel=2,
)

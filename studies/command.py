"""``kd study`` and ``kd compare`` join the command line by entry points. Importing this module costs nothing."""

from __future__ import annotations

from kdengine.cli import Command

COMPARE = Command(
    "compare", "methods x seeds under one recipe: what each gains, and whether that is decided", "studies.compare_shell"
)
STUDY = Command("study", "tune temperatures, loss weights and recipe: search, confirm, promote", "studies.shell")

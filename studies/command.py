"""``kd study``, ``kd compare`` and ``kd race`` join the command line by entry points. To import this costs nothing."""

from __future__ import annotations

from kdengine.cli import Command

COMPARE = Command(
    "compare", "methods x seeds under one recipe: what each gains, and whether that is decided", "studies.compare_shell"
)
STUDY = Command("study", "tune temperatures, loss weights and recipe: search, confirm, promote", "studies.shell")
RACE = Command("race", "find the best method for data, teacher and student within some hours", "studies.race.shell")

"""``kd study``: joins the command line through an entry point. Importing this module costs nothing."""

from __future__ import annotations

from kdengine.cli import Command

STUDY = Command("study", "tune temperatures, loss weights and recipe: search, confirm, promote", "studies.shell")

"""``kd ui``: joins the command line through an entry point. Importing this module costs nothing."""

from __future__ import annotations

from kdengine.cli import Command

UI = Command("ui", "open the dashboard in a browser", "app.server.serve")

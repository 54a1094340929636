"""What ``kd doctor`` says of one thing that it has looked at."""

from __future__ import annotations

from typing import NamedTuple

OK, WARNING, PROBLEM = "ok", "warning", "problem"


class Finding(NamedTuple):
    """One line: "ok", "warning" or "problem"; what was looked at; what was found; what to do ("" when all is well)."""

    level: str
    subject: str
    text: str
    advice: str = ""

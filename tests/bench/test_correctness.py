"""What the script for a lent GPU calls right: told from rows as it writes them."""

from __future__ import annotations

from typing import Any

import pytest
from correctness import table, verdict


def row(**changes: Any) -> dict[str, Any]:
    good = {"method": "kd", "apart": {"1": 1e-6, "10": 0.3}, "accuracy": [0.91, 0.93], "resumed": 0.0, "recorded": 0.0}
    return good | changes


@pytest.mark.parametrize(
    "changes, said",
    [
        ({}, ""),
        ({"recorded": None}, ""),
        ({"apart": {"1": 1e-3}}, "the first step differs"),
        ({"accuracy": [0.8, 0.93]}, "the accuracy differs"),
        ({"resumed": 1e-9, "recorded": 1e-9}, "a resumed run differs, a recorded step differs"),
        ({"recorded": None, "fell back": True}, "its step could not be recorded"),
        ({"error": "RuntimeError: out of memory"}, "RuntimeError: out of memory"),
    ],
)
def test_what_is_right_and_what_is_not(changes: dict[str, Any], said: str) -> None:
    assert verdict(row(**changes)) == said


def test_the_table_counts_and_shows_every_method() -> None:
    rows = [row(), row(method="dkd", resumed=0.5), {"method": "at", "error": "KdError: no"}]
    text = table({"command": "c", "machine": "m", "torch": "2"}, rows)
    assert "1 of 3 methods" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][2:] == [
        "at", "dkd", "kd",
    ]  # fmt: skip
    assert "| kd | 1.0e-06 | 3.0e-01 |  | 91.0 % | 93.0 % | equal | equal |  |" in text

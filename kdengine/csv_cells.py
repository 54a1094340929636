"""Texts in tables for spreadsheets."""

from __future__ import annotations

# A spreadsheet takes a cell that begins with one of these for a formula, and runs it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def text_cell(value: str) -> str:
    """A text that no spreadsheet takes for a formula: the apostrophe says that it is text."""
    return f"'{value}" if value.lstrip(" ").startswith(_FORMULA) else value

"""The event handlers for several runs at once: those that are ticked in the table."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, text
from app.board import Row
from app.pages.runs import csv_file, differences
from app.pages.runs.listing import Listing
from kdengine.errors import KdError
from kdengine.figures.overlay import MAX_RUNS, RunLine, overlay
from kdengine.workspace.annotations import retag, tidy
from kdengine.workspace.rundir import RunDirectory, short_id

MAX_NAMES = 12
"""Runs that are named one by one before they are deleted."""
NONE_TICKED = "Tick runs in the table first."


class TickedHandlers:
    """Every method takes the ids of the ticked runs with commas in between.

    Args:
        listing: all runs by name and group.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.board = listing.board

    def overlay(self, ids: str) -> list[Any]:
        """The curves of the runs on one plot; values of `TickedParts.result`."""
        rows, problems = self._chosen(ids)
        lines, without, seeds = [], [], self._same_name(rows)
        for row in rows[:MAX_RUNS]:
            epochs = self.board.record(row.id).epochs
            if epochs:
                lines.append(RunLine(self._called(row, seeds), epochs))
            else:
                without.append(self._called(row, seeds))
        said = boxes.problems(problems)
        if len(rows) > MAX_RUNS:
            said += boxes.note(f"Drawn are the first {MAX_RUNS} of {len(rows)} ticked runs; untick some to see others.")
        if without:
            said += boxes.note(f"No epoch has ended yet in {', '.join(without)}.")
        if not lines:
            return _result(said or boxes.problems([NONE_TICKED]))
        return _result(f"<h2>Curves of {_runs(len(lines))}</h2>{said}", plot=overlay(lines))

    def compare_settings(self, ids: str) -> list[Any]:
        """The settings that differ between the runs; values of `TickedParts.result`."""
        rows, problems = self._chosen(ids)
        if len(rows) < 2:
            return _result(boxes.problems(problems or ["Tick two runs or more to compare their settings."]))
        said = boxes.problems(problems)
        if len(rows) > differences.MAX_RUNS:
            said += boxes.note(f"Compared are the first {differences.MAX_RUNS} of {len(rows)} ticked runs.")
        rows = rows[: differences.MAX_RUNS]
        seeds = self._same_name(rows)
        found = differences.table([self.compared(row, self._called(row, seeds)) for row in rows])
        return _result(f"<h2>Settings of {_runs(len(rows))}</h2>{said}{found}")

    def compared(self, row: Row, name: str) -> differences.Compared:
        """A run for the table of differences."""
        spec = self.board.workspace.run(row.id).spec_or_nothing()
        teacher = (spec.get("teacher") or {}).get("run")
        if teacher in self.listing.families.names:
            spec = spec | {"teacher": {"run": f"{self.listing.families.names[teacher]} [{short_id(teacher)}]"}}
        return differences.Compared(row.id, name, spec, row.best, row.test)

    def add_tag(self, ids: str, tag: str) -> list[Any]:
        """Adds tags, with commas in between, to all of the runs; a message, and the field, emptied when it was done."""
        return self._retag(ids, tag, "have", lambda run, tags: retag(run, add=tags))

    def remove_tag(self, ids: str, tag: str) -> list[Any]:
        """Takes tags from all of the runs; as `add_tag`."""
        return self._retag(ids, tag, "no longer have", lambda run, tags: retag(run, remove=tags))

    def ask_before_deleting(self, ids: str) -> list[Any]:
        """What would go: the ids asked about, values of `TickedParts.result`, and the button's label."""
        rows, problems = self._chosen(ids)
        if not rows:
            return ["", *_result(boxes.problems(problems or [NONE_TICKED])), gr.skip()]
        going = {row.id for row in rows}
        names = [self._called(row, self._same_name(rows)) for row in rows]
        listed = ", ".join(names[:MAX_NAMES]) + (f" and {len(rows) - MAX_NAMES} more" if len(rows) > MAX_NAMES else "")
        size = sum(self.board.workspace.run(row.id).size() for row in rows)
        students = [each for row in rows for each in self.listing.families.students.get(row.id, [])]
        staying = [each for each in dict.fromkeys(students) if each not in going]
        lines = [f"{_runs(len(rows))}, {text.size(size)}: {listed}. Networks, curves, logs and notes go for good."]
        if staying:
            lines.append(f"{_runs(len(staying))} that stay have one of them as teacher; their results stay.")
        unended = [name for row, name in zip(rows, names, strict=True) if not row.state.ended]
        if unended:
            lines.append(f"Stop first, or they are left: {', '.join(unended[:MAX_NAMES])}.")
        said = f"<h2>Delete {_runs(len(rows))}?</h2>{boxes.problems(problems)}{boxes.notes('', lines)}"
        label = gr.update(value=f"Delete {_runs(len(rows))} permanently")
        return [",".join(row.id for row in rows), *_result(said, ask=True), label]

    def delete(self, asked: str) -> list[Any]:
        """Deletes the runs that were asked about, students before their teachers; values of `TickedParts.result`."""
        from kdengine import tracking

        rows, problems = self._chosen(asked)
        known, done = self.listing.families, 0
        for row in _students_first(rows, known.students):
            try:
                tracking.delete_run(self.board.store, row.id)
                done += 1
            except KdError as error:
                problems.append(f"{known.names[row.id]}: {error}")
        said = boxes.note(f"{_runs(done)} deleted.") if done else ""
        return ["", *_result(said + boxes.problems(problems))]

    def hand_out_csv(self, ids: str) -> list[Any]:
        """A file with the rows of the runs, and what is wrong, "" for nothing."""
        rows, problems = self._chosen(ids)
        if not rows:
            return [None, boxes.problems(problems or [NONE_TICKED])]
        target = Path(tempfile.mkdtemp(prefix="kd-csv-")) / "runs.csv"
        # With the mark that tells spreadsheets it is UTF-8.
        target.write_text(csv_file.as_csv(rows, self.listing.families), encoding="utf-8-sig", newline="")
        return [str(target), boxes.problems(problems)]

    def close(self) -> list[Any]:
        """Hides what was shown of the ticked runs; values of `TickedParts.result`."""
        return _result("")

    def _retag(self, ids: str, tag: str, verb: str, change: Callable[[RunDirectory, list[str]], object]) -> list[Any]:
        rows, problems = self._chosen(ids)
        tags = tidy(tag.split(","))
        if not rows:
            return [boxes.problems(problems or [NONE_TICKED]), gr.skip()]
        if not tags:
            return [boxes.problems(["Write a tag first."]), gr.skip()]
        done = 0
        for row in rows:
            try:
                change(self.board.workspace.run(row.id), list(tags))
                done += 1
            except KdError as error:
                problems.append(f"{self.listing.families.names[row.id]}: {error}")
        said = boxes.note(f"{_runs(done)} {verb} {', '.join(f'#{each}' for each in tags)}.") if done else ""
        return [said + boxes.problems(problems), gr.skip() if problems else ""]

    def _chosen(self, ids: str) -> tuple[list[Row], list[str]]:
        """The rows, and a sentence about those that are gone."""
        rows, gone = self.listing.chosen(filter(None, ids.split(",")))
        return rows, [f"There is no run {', '.join(gone[:MAX_NAMES])} (deleted, perhaps)."] if gone else []

    def _same_name(self, rows: list[Row]) -> set[str]:
        """Names that several of the runs have: their seeds tell them apart, or the ends of their ids."""
        names = [self.listing.families.names[row.id] for row in rows]
        return {name for name in names if names.count(name) > 1}

    def _called(self, row: Row, same: set[str]) -> str:
        name = self.listing.families.names[row.id]
        if name not in same:
            return name
        return f"{name} #{row.seed}" if row.seed is not None else f"{name} {short_id(row.id)}"


def _result(said: str, plot: Any = None, ask: bool = False) -> list[Any]:
    """The box, what it says, the plot, and the two buttons that ask before runs are deleted."""
    return [
        gr.update(visible=bool(said)),
        said,
        gr.update(value=plot, visible=plot is not None),
        gr.update(visible=ask),
    ]


def _students_first(rows: list[Row], students: dict[str, list[str]]) -> list[Row]:
    """The runs so ordered that a teacher comes after all of its students among them: else it would be refused."""
    found: list[Row] = []
    left = {row.id: row for row in rows}
    while left:
        free = [row for row in left.values() if not left.keys() & set(students.get(row.id, []))]
        found += free or left.values()
        left = {row.id: row for row in left.values() if row not in found}
    return found


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"

"""All runs of the workspace with their names and groups, as the Runs page lists, searches and names them."""

from __future__ import annotations

from collections.abc import Iterable

from app.board import Board, Row
from app.families import Families, families
from app.pages.runs.search import read_query
from kdengine.workspace.states import State


class Listing:
    """The last look at all runs is kept: a click needs the names of a thousand runs, but not of this very moment.

    Args:
        board: where they are read.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._last: tuple[list[Row], Families] | None = None

    def look(self) -> tuple[list[Row], Families]:
        """All runs as they are now: running, queued in queue order, ended (newest first)."""
        rows = self.board.rows()
        if self._last is None or rows != self._last[0]:
            self._last = rows, families(rows)
        return self._last

    def last(self) -> tuple[list[Row], Families]:
        """All runs as of the last look; the first look where there was none."""
        return self._last or self.look()

    @property
    def families(self) -> Families:
        """Names and groups as of the last look."""
        return self.last()[1]

    def families_with(self, run_id: str) -> Families:
        """Names and groups that a run is among: looks again for one that the last look did not see."""
        return self.families if run_id in self.families.names else self.look()[1]

    @property
    def any(self) -> bool:
        """Whether there were any runs at the last look."""
        return bool(self.last()[0])

    def search(self, query: str) -> tuple[list[str] | None, list[str]]:
        """Ids that a search finds among those of the last look, None for an empty one; and what of it is wrong."""
        read = read_query(query)
        rows, known = self.last()
        if not read.conditions:
            return None, list(read.problems)
        return [row.id for row in rows if read.finds(row, known)], list(read.problems)

    def foremost(self) -> str:
        """The run that a page shows by itself: one that trains, else the newest, else the next in the queue."""
        rows, _ = self.look()
        runs = [row for row in rows if not row.steers] or rows
        return next((row.id for row in runs if row.state != State.QUEUED), runs[0].id if runs else "")

    def chosen(self, run_ids: Iterable[str]) -> tuple[list[Row], list[str]]:
        """The rows of ids as they are now, in the order of the ids; and the ids that are not there (any more)."""
        rows = {row.id: row for row in self.look()[0]}
        wanted = list(dict.fromkeys(run_ids))
        return [rows[each] for each in wanted if each in rows], [each for each in wanted if each not in rows]

    def called(self, run_ids: Iterable[str]) -> list[str]:
        """What runs are called."""
        names = self.last()[1].names
        return [names.get(run_id, run_id) for run_id in run_ids]

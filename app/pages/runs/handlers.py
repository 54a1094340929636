"""The event handlers of the Runs page for its table and the run beside it."""

from __future__ import annotations

import hashlib
from typing import Any

import gradio as gr

from app import boxes
from app.board import Board, Detail, Record
from app.events import Query
from app.pages.runs import health, one, state, table
from app.pages.runs.listing import Listing
from kdengine.errors import KdError
from kdengine.figures import curves
from kdengine.jobs import request, supervisor_alive

LONG_BYTES = 2_000_000  # of events: read in a tenth of a second
BOXES = len(one.BUTTONS) + 3
NOTED = 3
"""Fields with what a person wrote about the run."""
SUPERVISOR_GONE = (
    "The supervisor process, which starts and stops runs, has exited and is being restarted. Active runs continue."
)

Known = dict[str, Any]
"""What an open page shows: a mark of each part."""
Visit = dict[str, str]
"""Of an open page: under "run" the run that was chosen last. One object for all events of the page, which change it in
place: what was begun for another run, and ends after the click, must not be shown over it."""


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        board: what is known of the runs.
        mlflow_url: address of the MLflow page where it was started too.
        listing: all runs by name and group; one for all handlers of the page.
    """

    def __init__(self, board: Board, mlflow_url: str | None = None, listing: Listing | None = None) -> None:
        self.board = board
        self.mlflow_url = mlflow_url
        self.listing = listing or Listing(board)

    def arrive(self, query: Query) -> tuple[str, str]:
        """The run and the search that the address names; without a run the one that trains, or the newest."""
        return str(query.get("run", "")) or self.listing.foremost(), str(query.get("q", ""))

    def select(self, run_id: str, at: float, known: Known, latest: float, visit: Visit | None = None) -> list[Any]:
        """Shows what takes no time after a click, the curves follow; a click that a later one overtook changes nothing.

        Args:
            run_id: what was clicked; "" for the one that the page shows by itself.
            at: when, by the browser's clock.
            known: what the page shows.
            latest: when the run that it shows was clicked.
            visit: of the page.

        Returns:
            Values of `Parts.selected`.
        """
        if at < latest:
            return [gr.skip()] * (8 + BOXES + NOTED)
        run_id = run_id or self.listing.foremost()
        if visit is not None:
            visit["run"] = run_id
        hidden = gr.update(visible=False)
        detail = self.board.detail(run_id) if run_id else None
        said, there = self._stands(run_id, detail), shown(detail)
        changed = _changes(there, known.get("shown"))
        known = known | {"state": _mark(said), "shown": there, "noted": _mark(run_id), "health": _mark("")}
        first = [at, run_id, known, said, "", "", hidden, *changed]
        if detail is None or self.board.unread(run_id) < LONG_BYTES:
            return [*first, *self._noted(run_id, detail), gr.skip()]
        # Better no curves for a second than those of another run.
        first[2] = known | {"curves": ""}
        return [*first, *self._noted(run_id, detail), hidden]

    def refresh(
        self,
        run_id: str,
        kind: str,
        smoothing: float,
        log: bool,
        query: str,
        known: Known,
        visit: Visit | None = None,
    ) -> list[Any]:
        """Whatever has changed since the last refresh of this page; nothing at all when nothing has.

        Args:
            run_id: of the chosen run, "" for none.
            kind: of the loss, "weighted" or "raw".
            smoothing: of the curves, 0 to below 1.
            log: whether the axis of the loss is logarithmic.
            query: the search line.
            known: what the page shows.
            visit: of the page.

        Returns:
            Values of `Parts.refreshed`.
        """
        self.listing.look()
        return self.follow(run_id, kind, smoothing, log, query, known, visit)

    def follow(
        self,
        run_id: str,
        kind: str,
        smoothing: float,
        log: bool,
        query: str,
        known: Known,
        visit: Visit | None = None,
    ) -> list[Any]:
        """As `refresh`, with the table as it was at the last look: after a click the curves are waited for."""
        rows, families = self.listing.last()
        found, problems = self.listing.search(query)
        detail = self.board.detail(run_id) if run_id else None
        record = self.board.record(run_id) if detail else Record([], [], [])
        watched = supervisor_alive(self.board.workspace)
        parts: dict[str, Any] = {
            "table": table.rows_as_json(rows, families),
            "live": table.live_as_json(rows, found, run_id),
            "said": ("" if watched or not rows else boxes.problems([SUPERVISOR_GONE])) + boxes.problems(problems),
            "state": self._stands(run_id, detail),
            "health": health.line(detail, record),
            "curves": (one.length(run_id, record), kind, smoothing, log),
            "system": (run_id, len(record.system)),
            "log": record.log,
            "settings": (detail.command, detail.spec) if detail else None,
            "noted": run_id,
        }
        changed: Known = {key: _mark(value) for key, value in parts.items()} | {"shown": shown(detail)}
        new = {key for key in changed if changed[key] != known.get(key)}
        if not new or _overtaken(run_id, visit):
            return [gr.skip()] * (13 + BOXES + NOTED)
        return [
            known | changed,
            *(parts[key] if key in new else gr.skip() for key in ("table", "live", "said", "state", "health")),
            *_changes(changed["shown"], known.get("shown")),
            *(self._noted(run_id, detail) if "noted" in new else [gr.skip()] * NOTED),
            *_drawn(new, detail, record, one.Drawing(kind, smoothing, log)),
            one.log(record) if "log" in new else gr.skip(),
            *(one.settings(detail) if "settings" in new else [gr.skip()] * 2),
        ]

    def draw_again(
        self, run_id: str, kind: str, smoothing: float, log: bool, known: Known, visit: Visit | None = None
    ) -> list[Any]:
        """The curves alone, drawn another way: what the page shows now, and the figure."""
        detail = self.board.detail(run_id) if run_id else None
        if detail is None or _overtaken(run_id, visit):
            return [gr.skip(), gr.skip()]
        record = self.board.record(run_id)
        mark = _mark((one.length(run_id, record), kind, smoothing, log))
        return [known | {"curves": mark}, one.curves(detail, record, one.Drawing(kind, smoothing, log))]

    def send_request(self, what: str, run_id: str) -> str:
        """Requests what a button says; the reason in the box when it is refused, an empty box when it is done.

        Args:
            what: "stop", "kill", "resume", "accept", "up" or "down".
            run_id: of the chosen run.
        """
        try:
            request(self.board.workspace, run_id, what)
        except KdError as error:
            return boxes.error(error)
        return ""

    def ask_before_deleting(self, run_id: str) -> tuple[str, Any]:
        """What would go with the run, before anything goes, and the box with the two buttons."""
        students = self.listing.called(self.board.store.dependents(run_id)) if run_id else []
        return state.consequences(students), gr.update(visible=True)

    def delete(self, run_id: str, visit: Visit | None = None) -> tuple[str, str, Any]:
        """Deletes it permanently: the chosen run, a message, and the box that asked for confirmation."""
        from kdengine import tracking

        hidden = gr.update(visible=False)
        try:
            tracking.delete_run(self.board.store, run_id)
        except KdError as error:
            return run_id, boxes.error(error), hidden
        if visit is not None:
            visit["run"] = ""
        return "", "", hidden

    def hand_out_log(self, run_id: str) -> list[Any]:
        """The whole log as a file, or words where there is none."""
        copy = one.log_copy(self.board, run_id)
        return [copy, "" if copy else boxes.problems(["This run has written no log."])]

    def _stands(self, run_id: str, detail: Detail | None) -> str:
        if detail is None:
            return state.nothing_chosen(self.listing.any, run_id)
        link = state.mlflow_link(self.board, detail, self.mlflow_url)
        return state.state(detail, link, self.listing.families_with(run_id))

    def _noted(self, run_id: str, detail: Detail | None) -> list[Any]:
        return one.noted(self.board.annotations(run_id) if detail else None)


def _overtaken(run_id: str, visit: Visit | None) -> bool:
    """Whether another run was chosen since."""
    return visit is not None and visit.get("run", run_id) != run_id


def shown(detail: Detail | None) -> list[bool]:
    """Which buttons and boxes are there: `BUTTONS`, the panel Export, its early exits, and log with settings."""
    return [*one.buttons(detail), *one.exportable(detail), detail is not None]


def _changes(now: list[bool], before: list[bool] | None) -> list[Any]:
    """Only what has changed: a box that is set visible again makes the browser copy all it holds."""
    old: list[Any] = before or [None] * len(now)
    return [gr.skip() if is_now == was else gr.update(visible=is_now) for is_now, was in zip(now, old, strict=True)]


def _drawn(new: set[str], detail: Detail | None, record: Record, how: one.Drawing) -> list[Any]:
    """The box of the curves, and these; the box of the machine's curves, and these."""
    seen = "system" in new
    return [
        gr.update(visible=bool(record.steps or record.epochs)) if "curves" in new else gr.skip(),
        one.curves(detail, record, how) if "curves" in new and detail else gr.skip(),
        gr.update(visible=bool(record.system)) if seen else gr.skip(),
        curves.system(record.system, label=detail.job.id) if seen and record.system and detail else gr.skip(),
    ]


def _mark(value: Any) -> str:
    return hashlib.sha1(repr(value).encode(), usedforsecurity=False).hexdigest()

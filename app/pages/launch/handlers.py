"""The event handlers of the Launch page for the whole experiment: command, problems, cost, and the launch itself."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from app import boxes
from app.latest import Latest
from app.pages.launch import cards, changed, problems
from app.pages.launch.form import NOTHING_FOUND, Form, Found, Values
from app.worker import Workers
from kdengine.errors import BadInput, KdError, Problem
from kdengine.spec import ExperimentSpec
from kdengine.teachers import pairs

MAX_SEEDS = 20
SETTLE_S = 0.4  # nobody wants the cost of every digit of a number
NO_COMMAND = "# Not available until the problems are fixed."


class Handlers:
    """Every method takes plain values and returns what the components show.

    Args:
        form: the controls.
        workers: who computes.
    """

    def __init__(self, form: Form, workers: Workers) -> None:
        self.form = form
        self.workspace = form.workspace
        self.workers = workers
        self._latest = Latest()

    def summarize(self, values: Values, session: str) -> list[Any]:
        """Command, YAML, Python, what was changed, problems at their fields, and both buttons: the one writer of all.

        The problems that the last check of networks and data found count for exactly the experiment that was checked.
        """
        found: Found = values[self.form.found]
        at = self.form.at(values)
        try:
            seeds = seeds_of(values[self.form.seeds])
            spec = self.form.spec(values)
        except BadInput as error:
            return [NO_COMMAND, NO_COMMAND, NO_COMMAND, "", *problems.updates(error.problems, at)]
        text = spec.to_yaml()
        self._latest.note(session, text)
        found_changed = changed.changes(spec)
        program, chips = changed.python(spec, found_changed), changed.chips(found_changed, at)
        shown = [_command(spec, seeds), _yaml(text, spec.seed, seeds), program, chips]
        if found["yaml"] == text and found["problems"]:
            return [*shown, *problems.updates([Problem(*each) for each in found["problems"]], at)]
        warned = boxes.warnings(pairs.warnings(spec, self.workspace))
        return [*shown, warned, gr.update(interactive=True, value=_button(seeds)), gr.update(interactive=True)]

    def measure(self, values: Values, session: str) -> list[Any]:
        """Cost, and the problems that only show when networks and data are at hand.

        Nothing for an experiment that the person has changed meanwhile: its successor waits already.
        """
        time.sleep(SETTLE_S)
        try:
            seeds = seeds_of(values[self.form.seeds])
            spec = self.form.spec(values)
        except BadInput:
            return ["", NOTHING_FOUND, *_compiling(None)]
        text = spec.to_yaml()
        try:
            if self._latest.overtaken(session, text):
                return [gr.skip()] * 4
            self.workers.measuring.call("check", text)
            if self._latest.overtaken(session, text):
                return [gr.skip()] * 4
            found = self.workers.measuring.call("forecast", text)
            return [cards.cost(found, seeds), NOTHING_FOUND, *_compiling(found["compiling"])]
        except BadInput as error:
            return ["", _found(text, error), *_compiling(None)]
        except KdError as error:
            return [boxes.note(f"No forecast: {error}"), NOTHING_FOUND, *_compiling(None)]

    def measure_compiling(self, values: Values, session: str) -> Iterator[list[Any]]:
        """What torch.compile would gain in this run; nothing where the person has changed it meanwhile."""
        try:
            text = self.form.spec(values).to_yaml()
        except BadInput as error:
            yield [boxes.error(error), gr.update(visible=False)]
            return
        yield [boxes.note("Compiling and timing a few steps: ten seconds to two minutes…"), gr.update(visible=False)]
        try:
            found = self.workers.background.call("compiling", text)
        except KdError as error:
            yield [boxes.error(error), gr.update(visible=False)]
            return
        yield [gr.skip()] * 2 if self._latest.overtaken(session, text) else _compiling(found)

    def compile_on(self) -> bool:
        """Switches compiling on."""
        return True

    def launch(self, values: Values) -> list[Any]:
        """Queues the runs: id of the first and a fresh token, or what was found against it."""
        token = values[self.form.token]
        try:
            seeds = seeds_of(values[self.form.seeds])
            spec = self.form.spec(values)
        except BadInput:
            return ["", gr.skip(), NOTHING_FOUND]
        text = spec.to_yaml()
        specs = [spec.model_copy(update={"seed": spec.seed + number}).to_yaml() for number in range(seeds)]
        # The same form clicked twice is one launch; after a change it is another one.
        token = f"{token}-{hashlib.sha256(''.join(specs).encode()).hexdigest()[:12]}"
        try:
            ids = self.workers.acting.call("launch", specs, token)
        except KdError as error:
            return ["", gr.skip(), _found(text, error)]
        return [ids[0], secrets.token_hex(8), NOTHING_FOUND]


def _compiling(found: dict[str, Any] | None) -> list[Any]:
    """What compiling gains, and the button that switches it on, where that would save time."""
    pays = found is not None and found["saved_s"] > 0 and not found["on"]
    return [cards.compiling(found), gr.update(visible=pays)]


def seeds_of(shown: Any) -> int:
    """How many runs; raises BadInput."""
    seeds = int(shown) if isinstance(shown, int | float) else 0
    if not 1 <= seeds <= MAX_SEEDS:
        raise BadInput(Problem("seeds", f"found {shown}, expected 1 to {MAX_SEEDS}"))
    return seeds


def _command(spec: ExperimentSpec, seeds: int) -> str:
    return f"{spec.command()} --seeds {seeds}" if seeds > 1 else spec.command()


def _yaml(text: str, first: int, seeds: int) -> str:
    if seeds == 1:
        return text
    return f"# kd train --spec FILE --seeds {seeds}: with the seeds {first} to {first + seeds - 1}\n{text}"


def _button(seeds: int) -> str:
    return f"Launch {seeds} runs" if seeds > 1 else "Launch"


def _found(text: str, error: KdError) -> Found:
    problems = error.problems if isinstance(error, BadInput) else [Problem("", str(error))]
    return {"yaml": text, "problems": [(problem.field, problem.message) for problem in problems]}

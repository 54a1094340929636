"""What the address of the Launch page names: a run to clone, with changes, a trial of a study, a ready experiment; and
what of the page is open."""

from __future__ import annotations

import secrets
from typing import Any

import gradio as gr

from app import boxes, catalog, ready
from app.events import Query
from app.pages.launch.form import Form, Values
from kdengine.errors import BadInput, KdError
from kdengine.spec import ExperimentSpec, with_settings
from kdengine.workspace.rundir import RunDirectory, short_id

MAX_CHANGE = 200
OPEN = ("own-data", "own-teacher")
"""What ``?open=`` may name: panels of the cards."""


class Arrival:
    """Fills the form.

    Args:
        form: the controls.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.workspace = form.workspace

    def arrive(self, query: Query) -> list[Any]:
        """A fresh token; the panels that ``?open=`` names; and with ``?clone=<run>``, ``?study=<name>`` or
        ``?ready=<name>`` the form filled with that.

        A clone may come with changes, ``&set=path=value``; where they make no experiment it is filled in without them.
        """
        changes = _all(query, "set")
        said, spec, run = "", None, None
        try:
            spec, run = self._experiment(query)
            spec = _changed(spec, run, changes)
        except KdError as error:
            said, changes = boxes.error(error), []
        values = self.form.shown(spec, run) if spec is not None else {}
        if spec is not None:
            said += _arrival(query, run, changes, self.form.not_shown(values, spec))
        opened = [gr.update(open=True) if query.get("open") == panel else gr.skip() for panel in OPEN]
        return [secrets.token_hex(8), said, *opened, *self._filled(values)]

    def _experiment(self, query: Query) -> tuple[ExperimentSpec | None, RunDirectory | None]:
        """The experiment that the address names: a run's, that of a study's trial (the best), a ready one."""
        clone, study, trial, name = (query.get(key) for key in ("clone", "study", "trial", "ready"))
        if name:
            return ready.find(name).spec, None
        if clone:
            run = self.workspace.existing_run(clone)
            return ExperimentSpec.from_yaml(run.spec_text()), run
        if not study:
            return None, None
        from studies import actions as control
        from studies import confirm

        if trial and not trial.isdigit():
            raise BadInput(f"there is no trial {trial!r}; a trial is named by its number")
        mapping = confirm.spec_of(control.view(study, self.workspace), int(trial) if trial else None)
        return ExperimentSpec.from_mapping(mapping), None

    def _filled(self, values: Values) -> list[Any]:
        """Updates of pickers and controls; only the choices are new where nothing is to be filled in."""
        form = self.form
        data = values.get(form.data, form.data.value)
        teacher = values.get(form.teacher, form.teacher.value)
        datasets = catalog.with_choice(catalog.datasets(self.workspace), data)
        teachers = catalog.teachers_for(self.workspace, data, values.get(form.component("data.image_size")))
        choices = {form.data: datasets, form.teacher: catalog.with_choice(teachers, teacher)}
        updates = []
        for component in [*form.pickers(), *(control.component for control in form.controls())]:
            change: dict[str, Any] = {"choices": choices[component]} if component in choices else {}
            change |= {"value": values[component]} if component in values else {}
            updates.append(gr.update(**change) if change else gr.skip())
        return updates


def _all(query: Query, name: str) -> list[str]:
    """Every value of a name in an address; Gradio hands on the address as it stands, or as a plain mapping."""
    if hasattr(query, "getlist"):
        return [str(value) for value in query.getlist(name)]
    return [str(query.get(name))] if query.get(name) else []


def _changed(spec: ExperimentSpec | None, run: RunDirectory | None, changes: list[str]) -> ExperimentSpec | None:
    """A cloned run's experiment with ``path=value`` changes; raises BadInput, one sentence."""
    if not changes:
        return spec
    if spec is None or run is None:
        raise BadInput(
            "Changes in an address, set=..., are for a run that it clones: /launch?clone=RUN&set=PATH=VALUE."
        )
    if any(len(change) > MAX_CHANGE for change in changes):
        too_long = f"A change in an address may have at most {MAX_CHANGE} characters"
        raise BadInput(f"{too_long}; the form shows the run without the changes in the address.")
    try:
        return ExperimentSpec.from_mapping(with_settings(spec.model_dump(mode="json"), changes))
    except BadInput as error:
        why = "; ".join(map(str, error.problems))
        raise BadInput(f"The form shows the run without the changes in the address: {why}.") from error


def _arrival(query: Query, run: RunDirectory | None, changes: list[str], lost: list[str]) -> str:
    if query.get("ready"):
        source = f"the ready experiment {ready.find(str(query.get('ready'))).title}"
    else:
        source = f"run {short_id(run.id)}" if run is not None else f"the study {query.get('study')}"
    source += f" and {', '.join(changes)}" if changes else ""
    said = boxes.note(f"The form is filled from {source}; change what you like.")
    return said + (boxes.warnings([f"This form cannot show everything: {'; '.join(lost)}."]) if lost else "")

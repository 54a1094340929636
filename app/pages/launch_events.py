"""What happens on the Launch page: each output has one writer, so that the page never says two things at once."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app import boxes, catalog
from app.events import quiet
from app.pages import launch_cards as cards
from app.pages import launch_problems, launch_teacher
from app.pages.launch_form import Form, Values
from app.worker import Workers
from kdengine.data.uploads import keep_upload
from kdengine.errors import BadInput, KdError, Problem
from kdengine.recipes import RECIPES
from kdengine.rundir import RunDirectory, short_id
from kdengine.spec import ExperimentSpec, with_settings
from kdengine.teachers import pairs

MAX_SEEDS = 20
MAX_CHANGE = 200
UPLOAD_LOOK_S = 0.3
SETTLE_S = 0.4  # nobody wants the cost of every digit of a number
GO_TO_STUDIES = "(spec) => { window.location.href = '/studies?spec=' + encodeURIComponent(spec); }"
GO_TO_RUN = "(id) => { if (id) window.location.href = '/runs?run=' + encodeURIComponent(id); }"
LAUNCHING = "Launching…"
NO_COMMAND = "# There is none while something is to be mended."

Found = dict[str, Any]
"""What a look at networks and data found: ``yaml`` of the experiment, and its ``problems`` as (field, message)."""

NOTHING_FOUND: Found = {"yaml": "", "problems": []}


@dataclass(eq=False)
class Parts:
    """The components that events write to."""

    arrival: Any
    data_facts: Any
    teacher_facts: Any
    student_facts: Any
    method_facts: Any
    upload: Any
    uploaded: Any
    cost: Any
    launch: Any
    tune: Any
    problems: Any
    command: Any
    yaml: Any
    launched: Any


class Events:
    """What the page answers. Every method takes plain values and returns what the components show.

    Args:
        form: the controls.
        workers: who computes.
    """

    def __init__(self, form: Form, workers: Workers) -> None:
        self.form = form
        self.workspace = form.workspace
        self.workers = workers
        self._latest = _Latest()

    # the whole experiment -------------------------------------------------------------------------------------------

    def tell(self, values: Values, request: gr.Request) -> list[Any]:
        """Command, YAML, problems at their fields, and both buttons: the one writer of all five.

        What the last look at networks and data found counts for the very experiment that it was about.
        """
        found: Found = values[self.form.found]
        at = self.form.at(values)
        try:
            seeds = _seeds(values[self.form.seeds])
            spec = self.form.spec(values)
        except BadInput as error:
            return [NO_COMMAND, NO_COMMAND, *launch_problems.told(error.problems, at)]
        text = spec.to_yaml()
        self._latest.note(request.session_hash, text)
        shown = [_command(spec, seeds), _yaml(text, spec.seed, seeds)]
        if found["yaml"] == text and found["problems"]:
            return [*shown, *launch_problems.told([Problem(*each) for each in found["problems"]], at)]
        warned = boxes.warnings(pairs.warnings(spec, self.workspace))
        return [*shown, warned, gr.update(interactive=True, value=_button(seeds)), gr.update(interactive=True)]

    def measure(self, values: Values, request: gr.Request) -> list[Any]:
        """Cost, and the problems that only show when networks and data are at hand.

        Nothing for an experiment that the person has changed meanwhile: its successor waits already.
        """
        time.sleep(SETTLE_S)
        try:
            seeds = _seeds(values[self.form.seeds])
            spec = self.form.spec(values)
        except BadInput:
            return ["", NOTHING_FOUND]
        text = spec.to_yaml()
        try:
            if self._latest.overtaken(request.session_hash, text):
                return [gr.skip(), gr.skip()]
            self.workers.measuring.call("check", text)
            if self._latest.overtaken(request.session_hash, text):
                return [gr.skip(), gr.skip()]
            return [cards.cost(self.workers.measuring.call("forecast", text), seeds), NOTHING_FOUND]
        except BadInput as error:
            return ["", _found(text, error)]
        except KdError as error:
            return [boxes.note(f"No forecast: {error}"), NOTHING_FOUND]

    def launch(self, values: Values) -> list[Any]:
        """Queues the runs: id of the first and a fresh token, or what was found against it."""
        token = values[self.form.token]
        try:
            seeds = _seeds(values[self.form.seeds])
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

    # the cards ------------------------------------------------------------------------------------------------------

    def show_data(self, choice: str, image_size: float | None) -> str:
        """Sizes and sample images of the chosen data."""
        try:
            data = catalog.data_mapping(self.workspace, choice, image_size)
            return cards.data_facts(self.workers.measuring.call("samples", data))
        except KdError as error:
            return boxes.error(error)

    def data_defaults(self, choice: str) -> list[Any]:
        """What a person's choice of data sets: image size and augmentation as usual for them."""
        try:
            entry = catalog.data_definition(choice)
        except BadInput:
            return [gr.skip()] * len(self.form.shared)
        usual = {
            "data.image_size": entry.default_image_size,
            "data.augmentation": "crop_flip" if entry.flip else "crop",
        }
        return [usual.get(control.path, gr.skip()) for control in self.form.shared]

    def show_data_options(self, choice: str) -> list[Any]:
        """The options of the chosen data set alone."""
        return self._only("data", catalog.dataset_word(choice))

    def choose_method(self, method: str, teacher: str) -> list[Any]:
        """What the method is, whether it needs a teacher, and its own settings."""
        needs = catalog.may_need_teacher(method)
        return [
            cards.method_facts(method),
            gr.update(interactive=needs),
            cards.teacher_facts(self.workspace, teacher, needs),
            *self._only("method", method),
        ]

    def choose_teacher(self, teacher: str, method: str) -> str:
        """What the choice of teacher means."""
        return cards.teacher_facts(self.workspace, teacher, catalog.may_need_teacher(method))

    def choose_student(self, student: str) -> list[Any]:
        """What the network is, and its own options."""
        return [cards.student_facts(student), *self._only("student", student)]

    def choose_recipe(self, recipe: str, student: str) -> list[Any]:
        """The numbers of a named recipe."""
        if recipe not in RECIPES:
            return [gr.skip()] * (1 + len(self.form.shared))
        settings = RECIPES[recipe].for_student(student)
        changes = [
            control.to_shown(settings[control.path.split(".")[1]]) if control.path.startswith("recipe.") else gr.skip()
            for control in self.form.shared
        ]
        return [gr.update(info=RECIPES[recipe].summary), *changes]

    def offer_teachers(self, choice: str, image_size: float | None, teacher: str) -> Any:
        """The teachers for these data. What was chosen stays chosen: if it does not fit, that is said at the field."""
        choices = catalog.teachers_for(self.workspace, choice, image_size)
        return gr.update(choices=catalog.with_choice(choices, teacher))

    # coming in ------------------------------------------------------------------------------------------------------

    def take_upload(self, path: str | None) -> Iterator[list[Any]]:
        """Looks at an uploaded archive, keeps it, and chooses it with what is usual for it; or says why not, and keeps
        nothing and leaves the form as it is."""
        unchanged = [gr.skip()] * len(self.form.shared)
        if path is None:
            yield [gr.skip(), "", *unchanged]
            return
        said = ["Looking at the images…"]
        own = self.workspace.datasets / "own"
        with ThreadPoolExecutor(1) as beside:
            keeping = beside.submit(keep_upload, own, Path(path), Path(path).name, lambda _, words: said.append(words))
            while not keeping.done():
                yield [gr.skip(), boxes.note(said[-1]), *unchanged]
                wait([keeping], timeout=UPLOAD_LOOK_S)
        try:
            kept = keeping.result()
        except KdError as error:
            yield [gr.skip(), boxes.error(error), *unchanged]
            return
        choice = catalog.OWN + kept.name
        chosen = gr.update(choices=catalog.datasets(self.workspace), value=choice)
        yield [chosen, boxes.note(f"{kept.name} is kept."), *self.data_defaults(choice)]

    def arrive(self, request: gr.Request) -> list[Any]:
        """A fresh token; and with ``?clone=<run>`` or ``?study=<name>`` the form filled with that.

        A clone may come with changes, ``&set=path=value``; where they make no experiment it is filled in without them.
        """
        query = request.query_params or {}
        changes = _all(query, "set")
        said, spec, run = "", None, None
        try:
            spec, run = self._asked(query.get("clone"), query.get("study"), query.get("trial"))
            spec = _changed(spec, run, changes)
        except KdError as error:
            said, changes = boxes.error(error), []
        values = self.form.shown(spec, run) if spec is not None else {}
        if spec is not None:
            said += _arrival(query, run, changes, self.form.not_shown(values, spec))
        return [secrets.token_hex(8), said, *self._filled(values)]

    def _asked(
        self, clone: str | None, study: str | None, trial: str | None
    ) -> tuple[ExperimentSpec | None, RunDirectory | None]:
        """The experiment that the address names: a run's, or a study's with the values of a trial (the best)."""
        if clone:
            run = self.workspace.existing_run(clone)
            return ExperimentSpec.from_yaml(run.spec_text()), run
        if not study:
            return None, None
        from studies import confirm, control

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

    def _only(self, kind: str, chosen: str) -> list[Any]:
        return [gr.update(visible=name == chosen) for group_kind, name in self.form.groups if group_kind == kind]


class _Latest:
    """The experiment that each open page described last."""

    MOST = 256

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()

    def note(self, session: str | None, text: str) -> None:
        self._texts[session or ""] = text
        self._texts.move_to_end(session or "")
        while len(self._texts) > self.MOST:
            self._texts.popitem(last=False)

    def overtaken(self, session: str | None, text: str) -> bool:
        return self._texts.get(session or "", text) != text


def wire(form: Form, workers: Workers, page: gr.Blocks, out: Parts, own: launch_teacher.Panel) -> None:
    """Connects controls and events."""
    events = Events(form, workers)
    inputs = form.inputs()
    components = [control.component for control in form.controls()]
    shared = [control.component for control in form.shared]
    size = form.component("data.image_size")
    silent = quiet(out.method_facts)
    found = form.found = gr.State(NOTHING_FOUND)
    always = {"trigger_mode": "always_last", **silent}

    tell = {
        "fn": events.tell,
        "inputs": inputs | {found},
        "outputs": [out.command, out.yaml, out.problems, out.launch, out.tune],
    }
    measure = {"fn": events.measure, "inputs": inputs, "outputs": [out.cost, found]}
    data_facts = {"fn": events.show_data, "inputs": [form.data, size], "outputs": out.data_facts}
    teachers = {"fn": events.offer_teachers, "inputs": [form.data, size, form.teacher], "outputs": form.teacher}
    defaults = {"fn": events.data_defaults, "inputs": form.data, "outputs": shared}
    data_options = {"fn": events.show_data_options, "inputs": form.data, "outputs": form.group("data")}
    method = {
        "fn": events.choose_method,
        "inputs": [form.method, form.teacher],
        "outputs": [out.method_facts, form.teacher, out.teacher_facts, *form.group("method")],
    }
    student = {
        "fn": events.choose_student,
        "inputs": form.student,
        "outputs": [out.student_facts, *form.group("student")],
    }

    form.data.input(**defaults, **silent)
    form.data.change(**data_options, **silent)
    gr.on([form.data.change, size.change], **data_facts, **always)
    gr.on([form.data.change, size.change], **teachers, **always)
    form.method.change(**method, **silent)
    form.student.change(**student, **silent)
    form.teacher.change(events.choose_teacher, [form.teacher, form.method], out.teacher_facts, **silent)
    form.recipe.input(events.choose_recipe, [form.recipe, form.student], [form.recipe, *shared], **silent)
    out.upload.upload(events.take_upload, out.upload, [form.data, out.uploaded, *shared], **silent)

    watched = [component.change for component in (*form.pickers(), form.seeds, *components)]
    gr.on(watched, **tell, **always)
    gr.on(watched, **measure, concurrency_limit=2, **always)
    found.change(**tell, **silent)

    out.tune.click(None, out.yaml, None, js=GO_TO_STUDIES, **silent)
    mended = launch_teacher.wire(own, form.workspace, workers.acting, form.data, size, form.teacher)
    mended.then(**measure, **silent)

    out.launch.click(
        lambda: gr.update(interactive=False, value=LAUNCHING), None, out.launch, trigger_mode="once", **silent
    ).then(events.launch, inputs, [out.launched, form.token, found], **silent).then(**tell, **silent).then(
        None, out.launched, None, js=GO_TO_RUN, **silent
    )

    arrived = page.load(events.arrive, None, [form.token, out.arrival, *form.pickers(), *components], **silent)
    for each in (tell, data_facts, data_options, method, student):
        arrived.then(**each, **silent)
    arrived.then(**measure, **silent)


def _seeds(shown: Any) -> int:
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


def _all(query: Any, name: str) -> list[str]:
    """Every value of a name in an address; Gradio hands on the address as it stands, or as a plain mapping."""
    if hasattr(query, "getlist"):
        return [str(value) for value in query.getlist(name)]
    return [str(query.get(name))] if query.get(name) else []


def _changed(spec: ExperimentSpec | None, run: RunDirectory | None, changes: list[str]) -> ExperimentSpec | None:
    """A cloned run's experiment with ``path=value`` changes; raises BadInput, one sentence."""
    if not changes:
        return spec
    if spec is None or run is None:
        raise BadInput("Changes in an address, set=..., are for a run that it clones: /?clone=RUN&set=PATH=VALUE.")
    if any(len(change) > MAX_CHANGE for change in changes):
        raise BadInput(f"A change in an address may have {MAX_CHANGE} signs; the run is filled in without any.")
    try:
        return ExperimentSpec.from_mapping(with_settings(spec.model_dump(mode="json"), changes))
    except BadInput as error:
        why = "; ".join(map(str, error.problems))
        raise BadInput(f"The run is filled in without the changes that the address asks for: {why}.") from error


def _arrival(query: Any, run: RunDirectory | None, changes: list[str], lost: list[str]) -> str:
    source = f"run {short_id(run.id)}" if run is not None else f"the study {query.get('study')}"
    source += f" and {', '.join(changes)}" if changes else ""
    said = boxes.note(f"Filled with {source}; change what you like.")
    return said + (boxes.warnings([f"This form cannot show all of it: {'; '.join(lost)}."]) if lost else "")

"""Launch: what shall I distil, will it work, and what will it cost?"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app import boxes, catalog, text
from app.events import quiet
from app.forms import Control, controls_of, draw, gather, is_advanced
from app.pages import launch_cards as cards
from app.pages import launch_problems, launch_teacher
from app.worker import Worker
from kdengine.errors import BadInput, KdError
from kdengine.recipes import RECIPES
from kdengine.registry import DATASETS, METHODS, MODELS
from kdengine.spec import DataSpec, ExperimentSpec, RecipeSpec, RuntimeSpec, merge
from kdengine.teachers import pairs
from kdengine.workspace import Workspace

DEFAULTS = {"data": "digits", "teacher": "resnet8x4", "student": "mobilenetv3_small", "method": "kd"}
GO_TO_STUDIES = "(spec) => { window.location.href = '/studies?spec=' + encodeURIComponent(spec); }"
GO_TO_RUN = "(id) => { if (id) window.location.href = '/runs?run=' + encodeURIComponent(id); }"


@dataclass(eq=False)
class _Form:
    """Every control of the page, and the groups that show only for one choice of a card."""

    data: Any = None
    teacher: Any = None
    student: Any = None
    method: Any = None
    recipe: Any = None
    seeds: Any = None
    token: Any = None
    shared: list[Control] = field(default_factory=list)
    own: dict[tuple[str, str], list[Control]] = field(default_factory=dict)
    groups: dict[tuple[str, str], Any] = field(default_factory=dict)

    def controls(self) -> list[Control]:
        return [*self.shared, *(control for controls in self.own.values() for control in controls)]

    def seen(self, values: dict[Any, Any]) -> list[Control]:
        """The controls that show for these choices; what is hidden needs no word at its field."""
        hidden = [
            key
            for key in self.own
            if key[0] in ("method", "student") and key[1] != values[self.method if key[0] == "method" else self.student]
        ]
        return [*self.shared, *(control for key, own in self.own.items() if key not in hidden for control in own)]

    def inputs(self) -> set[Any]:
        pickers = {self.data, self.teacher, self.student, self.method, self.recipe, self.seeds, self.token}
        return pickers | {control.component for control in self.controls()}


def build(workspace: Workspace, worker: Worker, page: gr.Blocks) -> None:
    """Draws the page into the current Gradio context."""
    form = _Form()
    gr.HTML(
        '<h1 class="kd">Launch</h1><p class="kd-lead">Pick data, teacher, student and method; see the cost; launch.</p>'
    )
    with gr.Row(equal_height=True):
        data_facts, upload = _data_card(form, workspace)
        teacher_facts, own_teacher = _teacher_card(form, workspace)
        student_facts = _student_card(form)
        method_facts = _method_card(form)
    _parameters(form)
    _recipe(form)
    _more(form)
    with gr.Row(equal_height=True):
        with gr.Column(elem_classes="card", scale=5, min_width=320):
            gr.HTML('<span class="kd-head">Cost</span>')
            cost = gr.HTML(cards.waiting(), elem_id="forecast")
        with gr.Column(elem_classes="card", scale=6, min_width=320):
            with gr.Row():
                launch = gr.Button("Launch", variant="primary", elem_id="launch", scale=3)
                tune = gr.Button("Tune", elem_id="tune", scale=1, min_width=80)
                form.seeds = gr.Number(
                    1, label="Seeds", info="Runs with consecutive seeds.", precision=0, minimum=1, maximum=20, scale=1,
                    min_width=90, elem_id="seeds",
                )  # fmt: skip
            problems = launch_problems.box()
            with gr.Tabs():
                with gr.Tab("Command"):
                    command = gr.Code(
                        language="shell",
                        show_label=False,
                        interactive=False,
                        wrap_lines=True,
                        show_line_numbers=False,
                        elem_id="command",
                    )
                with gr.Tab("YAML"):
                    yaml = gr.Code(
                        language="yaml",
                        show_label=False,
                        interactive=False,
                        max_lines=18,
                        show_line_numbers=False,
                        elem_id="yaml",
                    )
    form.token = gr.State("")
    launched = gr.Textbox(visible="hidden")
    _wire(form, workspace, worker, page, _Outputs(
        data_facts, teacher_facts, student_facts, method_facts, upload, cost, launch, tune, problems, command, yaml,
        launched,
    ), own_teacher)  # fmt: skip


@dataclass(eq=False)
class _Outputs:
    """The components that handlers write to."""

    data_facts: Any
    teacher_facts: Any
    student_facts: Any
    method_facts: Any
    upload: Any
    cost: Any
    launch: Any
    tune: Any
    problems: Any
    command: Any
    yaml: Any
    launched: Any


# drawing ------------------------------------------------------------------------------------------------------------


def _data_card(form: _Form, workspace: Workspace) -> tuple[Any, Any]:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Data</span>')
        form.data = gr.Dropdown(
            catalog.datasets(workspace), value=DEFAULTS["data"], show_label=False, elem_id="field-data"
        )
        facts = gr.HTML("", elem_id="data-facts")
        with gr.Accordion("Own pictures", open=False):
            upload = gr.File(
                label="zip or tar: one folder a class, or train/ and test/ with one folder a class each",
                file_types=list(catalog.ARCHIVES), height=90, elem_id="upload-data",
            )  # fmt: skip
    return facts, upload


def _teacher_card(form: _Form, workspace: Workspace) -> tuple[Any, launch_teacher.Panel]:
    with gr.Column(elem_classes="card", min_width=240, elem_id="teacher-card"):
        gr.HTML('<span class="kd-head">Teacher</span>')
        choices = catalog.teachers(workspace, {"name": DEFAULTS["data"]})
        form.teacher = gr.Dropdown(choices, value=DEFAULTS["teacher"], show_label=False, elem_id="field-teacher")
        facts = gr.HTML("", elem_id="teacher-facts")
        return facts, launch_teacher.build()


def _student_card(form: _Form) -> Any:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Student</span>')
        form.student = gr.Dropdown(
            catalog.students(), value=DEFAULTS["student"], show_label=False, allow_custom_value=True,
            elem_id="field-student-name",
        )  # fmt: skip
        return gr.HTML("", elem_id="student-facts")


def _method_card(form: _Form) -> Any:
    with gr.Column(elem_classes="card", min_width=240):
        gr.HTML('<span class="kd-head">Method</span>')
        form.method = gr.Dropdown(
            catalog.methods(), value=DEFAULTS["method"], show_label=False, elem_id="field-method-name"
        )
        return gr.HTML("", elem_id="method-facts")


def _parameters(form: _Form) -> None:
    """The chosen method's own parameters; one group a method, one of them visible."""
    with gr.Column(elem_classes="card"):
        for name in METHODS.names():
            _group(
                form,
                "method",
                name,
                METHODS.get(name).Params,
                name == DEFAULTS["method"],
                f"Method: {METHODS.get(name).title}",
            )


def _recipe(form: _Form) -> None:
    with gr.Column(elem_classes="card"):
        gr.HTML('<span class="kd-head">Recipe</span>')
        settings = RECIPES["quick"].settings
        with gr.Row():
            form.recipe = gr.Dropdown(
                list(RECIPES), value="quick", label="Recipe", info=RECIPES["quick"].summary, min_width=220, scale=2,
                elem_id="field-recipe-name",
            )  # fmt: skip
            for path, info in controls_of(RecipeSpec, "recipe", ("name",)):
                if not is_advanced(info):
                    form.shared.append(draw(path, info, settings[path.split(".")[1]]))
            for path, info in controls_of(DataSpec, "data", ("name", "params")):
                if not is_advanced(info):
                    form.shared.append(draw(path, info, DATASETS.get(DEFAULTS["data"]).default_image_size))
            for path, info in controls_of(
                ExperimentSpec, "", ("data", "teacher", "student", "method", "recipe", "runtime", "title")
            ):
                form.shared.append(draw(path, info))


def _more(form: _Form) -> None:
    with gr.Accordion("More", open=False, elem_classes="card", elem_id="more"):
        title = ExperimentSpec.model_fields["title"]
        settings = RECIPES["quick"].settings
        first = {"augmentation": "crop"}
        for heading, model, prefix in (
            ("Training", RecipeSpec, "recipe"),
            ("Data", DataSpec, "data"),
            ("Computing", RuntimeSpec, "runtime"),
        ):
            gr.HTML(f'<span class="kd-head">{heading}</span>')
            with gr.Row():
                for path, info in controls_of(model, prefix, ("name", "params")):
                    if is_advanced(info):
                        value = (
                            settings.get(path.split(".")[1]) if prefix == "recipe" else first.get(path.split(".")[1])
                        )
                        form.shared.append(draw(path, info, value))
                if prefix == "data":
                    form.shared.append(draw("title", title))
        for kind, registry, chosen in (("student", MODELS, DEFAULTS["student"]), ("data", DATASETS, DEFAULTS["data"])):
            for name in registry.names():
                _group(
                    form,
                    kind,
                    name,
                    registry.get(name).Params,
                    name == chosen,
                    f"Options of {name}",
                    leave_out=("path",),
                )


def _group(
    form: _Form, kind: str, name: str, params: Any, visible: bool, heading: str, leave_out: tuple[str, ...] = ()
) -> None:
    fields = list(controls_of(params, kind, leave_out))
    if not fields and kind != "method":
        return
    with gr.Column(visible=visible) as group:
        gr.HTML(f'<span class="kd-head">{text.escape(heading)}</span>')
        if not fields:
            gr.HTML('<p class="kd-facts">Nothing to set: the labels are all it needs.</p>')
        with gr.Row():
            form.own[kind, name] = [
                draw(path, info, elem_id=f"field-{name}-{path.split('.')[-1]}") for path, info in fields
            ]
    form.groups[kind, name] = group


# from the page to a spec --------------------------------------------------------------------------------------------


def _mapping(form: _Form, workspace: Workspace, values: dict[Any, Any]) -> dict[str, Any]:
    data = catalog.data_mapping(workspace, values[form.data])
    names = {"data": data, "student": {"name": values[form.student]}, "method": {"name": values[form.method]}}
    controls = list(form.shared)
    for kind in ("method", "student", "data"):
        controls += form.own.get((kind, names[kind]["name"]), [])
    mapping = merge(names | {"recipe": {"name": values[form.recipe]}}, gather(controls, values))
    if catalog.needs_teacher(values[form.method]):
        mapping["teacher"] = values[form.teacher]
    return mapping


def _spec(form: _Form, workspace: Workspace, values: dict[Any, Any]) -> ExperimentSpec:
    return ExperimentSpec.from_mapping(_mapping(form, workspace, values))


# handlers -----------------------------------------------------------------------------------------------------------


def _wire(
    form: _Form, workspace: Workspace, worker: Worker, page: gr.Blocks, out: _Outputs, own: launch_teacher.Panel
) -> None:
    inputs = form.inputs()
    components = [control.component for control in form.controls()]
    silent = quiet(out.method_facts)

    def preview(values: dict[Any, Any]) -> list[Any]:
        """Command, YAML, and every problem at its field, at each change; no computation."""
        try:
            spec = _spec(form, workspace, values)
        except BadInput as error:
            return [gr.skip(), gr.skip(), *launch_problems.told(error.problems, form.seen(values))]
        warned = boxes.warnings(pairs.warnings(spec, workspace))
        launch = gr.update(interactive=True, value=_button(values[form.seeds]))
        return [spec.command(), spec.to_yaml(), warned, launch]

    def measure(values: dict[Any, Any]) -> list[Any]:
        """Cost, and the problems that only show when networks and data are at hand."""
        try:
            spec = _spec(form, workspace, values)
        except BadInput:
            return [gr.skip()] * 3
        text_of_spec = spec.to_yaml()
        warned = boxes.warnings(pairs.warnings(spec, workspace))
        try:
            worker.call("check", text_of_spec)
        except BadInput as error:
            return ["", *launch_problems.told(error.problems, form.seen(values))]
        except KdError as error:
            return [boxes.note(str(error)), gr.skip(), gr.skip()]
        try:
            return [cards.cost(worker.call("forecast", text_of_spec)), warned, gr.skip()]
        except KdError as error:
            return [boxes.note(f"No forecast: {error}"), warned, gr.skip()]

    def show_data(choice: str, image_size: float | None) -> str:
        data = catalog.data_mapping(workspace, choice) | ({"image_size": int(image_size)} if image_size else {})
        try:
            return cards.data_facts(worker.call("samples", data))
        except KdError as error:
            return boxes.problems([str(error)])

    def choose_data(choice: str) -> list[Any]:
        entry = DATASETS.get(catalog.data_mapping(workspace, choice)["name"])
        shown = {
            "data.image_size": entry.default_image_size,
            "data.augmentation": "crop_flip" if entry.flip else "crop",
        }
        changes = [shown.get(control.path, gr.skip()) for control in form.shared]
        return [*changes, *_group_updates(form, "data", entry.name)]

    def choose_method(method: str, teacher: str) -> list[Any]:
        needs = catalog.needs_teacher(method)
        return [
            cards.method_facts(method),
            gr.update(interactive=needs),
            cards.teacher_facts(workspace, teacher, needs),
            *_group_updates(form, "method", method),
        ]

    def choose_student(student: str) -> list[Any]:
        return [cards.student_facts(student), *_group_updates(form, "student", student)]

    def choose_recipe(recipe: str, student: str) -> list[Any]:
        settings = RECIPES[recipe].for_student(student)
        changes = [
            control.to_shown(settings[control.path.split(".")[1]]) if control.path.startswith("recipe.") else gr.skip()
            for control in form.shared
        ]
        return [gr.update(info=RECIPES[recipe].summary), *changes]

    def offer_teachers(choice: str, image_size: float | None, teacher: str) -> Any:
        data = catalog.data_mapping(workspace, choice) | ({"image_size": int(image_size)} if image_size else {})
        choices = catalog.teachers(workspace, data)
        kept = teacher if teacher in [value for _, value in choices] else DEFAULTS["teacher"]
        return gr.update(choices=choices, value=kept)

    def launch(values: dict[Any, Any]) -> list[Any]:
        try:
            spec = _spec(form, workspace, values)
            count = max(1, min(20, int(values[form.seeds] or 1)))
            specs = [spec.model_copy(update={"seed": spec.seed + number}).to_yaml() for number in range(count)]
            ids = worker.call("launch", specs, values[form.token])
        except BadInput as error:
            return ["", *launch_problems.told(error.problems, form.seen(values))]
        except KdError as error:
            return ["", boxes.problems([str(error)]), gr.skip()]
        return [ids[0], "", gr.skip()]

    def take_upload(path: str | None) -> Any:
        if path is None:
            return gr.skip()
        return gr.update(choices=catalog.datasets(workspace), value=_keep_upload(workspace, path))

    def arrive(request: gr.Request) -> list[Any]:
        """A fresh token; and with ``?clone=<run>`` or ``?study=<name>`` the form filled with that."""
        query = request.query_params or {}
        try:
            spec = _asked(workspace, query.get("clone"), query.get("study"), query.get("trial"))
        except KdError as error:
            gr.Warning(str(error))
            spec = None
        return [secrets.token_hex(8), *_filled(form, workspace, spec)]

    groups = {
        kind: [form.groups[key] for key in form.groups if key[0] == kind] for kind in ("method", "student", "data")
    }
    shared = [control.component for control in form.shared]
    size = next(control.component for control in form.shared if control.path == "data.image_size")

    form.data.change(choose_data, form.data, [*shared, *groups["data"]], **silent)
    gr.on(
        [form.data.change, size.change],
        show_data,
        [form.data, size],
        out.data_facts,
        trigger_mode="always_last",
        **silent,
    )
    gr.on(
        [form.data.change, size.change],
        offer_teachers,
        [form.data, size, form.teacher],
        form.teacher,
        trigger_mode="always_last",
        **silent,
    )
    form.method.change(
        choose_method,
        [form.method, form.teacher],
        [out.method_facts, form.teacher, out.teacher_facts, *groups["method"]],
        **silent,
    )
    form.teacher.change(
        lambda teacher, method: cards.teacher_facts(workspace, teacher, catalog.needs_teacher(method)),
        [form.teacher, form.method], out.teacher_facts, **silent,
    )  # fmt: skip
    form.student.change(choose_student, form.student, [out.student_facts, *groups["student"]], **silent)
    form.recipe.input(choose_recipe, [form.recipe, form.student], [form.recipe, *shared], **silent)
    out.upload.upload(take_upload, out.upload, form.data, **silent)

    watched = [
        component.change
        for component in (form.data, form.teacher, form.student, form.method, form.recipe, form.seeds, *components)
    ]
    shown = [out.command, out.yaml, out.problems, out.launch]
    costs = [out.cost, out.problems, out.launch]
    gr.on(watched, preview, inputs, shown, trigger_mode="always_last", **silent)
    gr.on(
        watched,
        measure,
        inputs,
        costs,
        trigger_mode="always_last",
        concurrency_limit=2,
        **silent,
    )

    out.tune.click(None, out.yaml, None, js=GO_TO_STUDIES, **silent)
    mended = launch_teacher.wire(own, workspace, worker, form.data, size, form.teacher)
    mended.then(preview, inputs, shown, **silent).then(measure, inputs, costs, **silent)

    out.launch.click(
        launch,
        inputs,
        [out.launched, out.problems, out.launch],
        trigger_mode="once",
        api_visibility="private",
    ).then(None, out.launched, None, js=GO_TO_RUN, api_visibility="private")

    choices = [form.data, form.teacher, form.student, form.method, form.recipe]
    arrived = page.load(arrive, None, [form.token, *choices, *components], **silent)
    arrived.then(preview, inputs, shown, **silent)
    arrived.then(show_data, [form.data, size], out.data_facts, **silent)
    arrived.then(
        choose_method,
        [form.method, form.teacher],
        [out.method_facts, form.teacher, out.teacher_facts, *groups["method"]],
        **silent,
    )
    arrived.then(choose_student, form.student, [out.student_facts, *groups["student"]], **silent)
    arrived.then(measure, inputs, costs, **silent)


def _group_updates(form: _Form, kind: str, chosen: str) -> list[Any]:
    return [gr.update(visible=name == chosen) for group_kind, name in form.groups if group_kind == kind]


def _asked(workspace: Workspace, clone: str | None, study: str | None, trial: str | None) -> ExperimentSpec | None:
    """The experiment that the address names: a run's, or a study's with the values of a trial, by default the best."""
    if clone:
        return ExperimentSpec.from_yaml(workspace.existing_run(clone).spec_file.read_text())
    if study:
        from studies import confirm, control

        number = int(trial) if trial and trial.isdigit() else None
        return ExperimentSpec.from_mapping(confirm.spec_of(control.view(study, workspace), number))
    return None


def _filled(form: _Form, workspace: Workspace, spec: ExperimentSpec | None) -> list[Any]:
    """Values for the cards and every control from an experiment; nothing changes without one."""
    if spec is None:
        blank = [gr.skip()] * (3 + len(form.controls()))
        teachers = catalog.teachers(workspace, {"name": DEFAULTS["data"]})
        return [gr.update(choices=catalog.datasets(workspace)), gr.update(choices=teachers), *blank]
    content = spec.model_dump(mode="json")
    data = catalog.data_choice(workspace, content["data"])
    taught = {"value": spec.teacher.word().partition("@")[0]} if spec.teacher is not None else {}
    pickers = [
        gr.update(choices=catalog.datasets(workspace), value=data),
        gr.update(choices=catalog.teachers(workspace, content["data"]), **taught),
        spec.student.name,
        spec.method.name,
        spec.recipe.name,
    ]
    flat = spec.flat()
    chosen = {("method", spec.method.name), ("student", spec.student.name), ("data", spec.data.name)}
    values = [control.to_shown(flat[control.path]) if control.path in flat else gr.skip() for control in form.shared]
    for key, controls in form.own.items():
        values += [control.to_shown(flat[control.path]) if key in chosen else gr.skip() for control in controls]
    return [*pickers, *values]


def _keep_upload(workspace: Workspace, path: str) -> str:
    """Moves an uploaded archive to one's own sources; returns its choice on the data card."""
    import re
    import shutil
    from pathlib import Path

    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(path).name).lstrip(".-") or "pictures.zip"
    place = workspace.datasets / "own"
    place.mkdir(parents=True, exist_ok=True)
    target = place / name
    number = 1
    while target.exists():
        number += 1
        target = place / f"{number}-{name}"
    shutil.copyfile(path, target)
    return catalog.OWN + target.name


def _button(seeds: Any) -> str:
    return f"Launch {int(seeds)} runs" if seeds and int(seeds) > 1 else "Launch"

"""What happens on the Launch page: each output has one writer, so that the page never shows two states at once."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import network_chooser
from app.events import QUIET, of_address, of_session
from app.pages.launch import chooser, teacher, upload
from app.pages.launch.arrival import Arrival
from app.pages.launch.card_handlers import CardHandlers
from app.pages.launch.handlers import Handlers
from app.pages.launch.parts import Parts

GO_TO_STUDIES = "(spec) => { window.location.href = '/studies?spec=' + encodeURIComponent(spec); }"
GO_TO_RUN = "(id) => { if (id) window.location.href = '/runs?run=' + encodeURIComponent(id); }"
LAUNCHING = "Launching…"

Events = dict[str, dict[str, Any]]
"""Handlers with their inputs and outputs, by what they do."""


def wire(parts: Parts, handlers: Handlers, cards: CardHandlers, arrival: Arrival, page: gr.Blocks) -> None:
    """Connects components and handlers."""
    events = _whole(parts, handlers) | _cards(parts, cards)
    _wire_cards(parts, cards, events)
    _wire_whole(parts, handlers, events)
    form = parts.form
    components = [*form.pickers(), *(control.component for control in form.controls())]
    opened = [parts.upload.box, parts.own_teacher.box]
    arrived = page.load(of_address(arrival.arrive), None, [form.token, parts.arrival, *opened, *components], **QUIET)
    for name in ("summarize", "data facts", "data options", "method", "student", "measure"):
        arrived.then(**events[name], **QUIET)


def _whole(parts: Parts, handlers: Handlers) -> Events:
    """What concerns the whole experiment."""
    form = parts.form
    return {
        "summarize": {
            "fn": of_session(handlers.summarize),
            "inputs": form.inputs() | {form.found},
            "outputs": [
                *(parts.command, parts.yaml, parts.python, parts.changed),
                *(parts.problems, parts.launch, parts.tune),
            ],
        },
        "measure": {
            "fn": of_session(handlers.measure),
            "inputs": form.inputs(),
            "outputs": [parts.cost, form.found, parts.compiling, parts.compile],
        },
    }


def _cards(parts: Parts, cards: CardHandlers) -> Events:
    """What concerns one card."""
    form, size = parts.form, parts.form.component("data.image_size")
    own = [control.component for control in form.own["data", "folder"]]
    return {
        "data facts": {"fn": cards.show_data, "inputs": [form.data, size, *own], "outputs": parts.data_facts},
        "data options": {"fn": cards.show_data_options, "inputs": form.data, "outputs": form.group("data")},
        "teachers": {"fn": cards.offer_teachers, "inputs": [form.data, size, form.teacher], "outputs": form.teacher},
        "method": {
            "fn": cards.choose_method,
            "inputs": [form.method, form.teacher],
            "outputs": [
                *(parts.method_facts, parts.method_page, parts.method_text),
                *(form.teacher, parts.teacher_facts, *form.group("method")),
            ],
        },
        "student": {
            "fn": cards.choose_student,
            "inputs": form.student,
            "outputs": [parts.student_facts, *form.group("student")],
        },
    }


def _wire_cards(parts: Parts, cards: CardHandlers, events: Events) -> None:
    form, size = parts.form, parts.form.component("data.image_size")
    shared = [control.component for control in form.shared]
    always = {"trigger_mode": "always_last", **QUIET}
    form.data.input(cards.data_defaults, form.data, shared, **QUIET)
    form.data.change(**events["data options"], **QUIET)
    own = [control.component.change for control in form.own["data", "folder"]]
    gr.on([form.data.change, size.change, *own], **events["data facts"], **always)
    gr.on([form.data.change, size.change], **events["teachers"], **always)
    form.method.change(**events["method"], **QUIET)
    parts.methods.select(chooser.chosen, None, form.method, **QUIET)
    form.student.change(**events["student"], **QUIET)
    form.teacher.change(cards.choose_teacher, [form.teacher, form.method], parts.teacher_facts, **QUIET)
    form.recipe.input(cards.choose_recipe, [form.recipe, form.student], [form.recipe, *shared], **QUIET)
    networks = network_chooser.Handlers(cards.worker)
    network_chooser.wire(parts.teacher_search, networks, form.teacher, size)
    network_chooser.wire(parts.student_search, networks, form.student, size)
    upload.wire(parts.upload, upload.UploadHandlers(form, cards.data_defaults))


def _wire_whole(parts: Parts, handlers: Handlers, events: Events) -> None:
    form, summarize, measure = parts.form, events["summarize"], events["measure"]
    always = {"trigger_mode": "always_last", **QUIET}
    controls = (control.component for control in form.controls())
    watched = [component.change for component in (*form.pickers(), form.seeds, *controls)]
    gr.on(watched, **summarize, **always)
    gr.on(watched, **measure, concurrency_limit=2, **always)
    form.found.change(**summarize, **QUIET)
    parts.measure.click(
        of_session(handlers.measure_compiling), form.inputs(), [parts.compiling, parts.compile], trigger_mode="once",
        **QUIET,
    )  # fmt: skip
    costs = chooser.CostHandlers(form, handlers.workers.background)
    parts.methods.submit(costs.count, form.inputs(), parts.method_costs, trigger_mode="once", **QUIET)
    parts.compile.click(handlers.compile_on, None, form.component("runtime.compile"), **QUIET)
    parts.tune.click(None, parts.yaml, None, js=GO_TO_STUDIES, **QUIET)
    own = teacher.OwnTeacherHandlers(form.workspace, handlers.workers.acting)
    stored = teacher.wire(parts.own_teacher, own, form.data, form.component("data.image_size"), form.teacher)
    stored.then(**measure, **QUIET)
    parts.launch.click(
        lambda: gr.update(interactive=False, value=LAUNCHING), None, parts.launch, trigger_mode="once", **QUIET
    ).then(handlers.launch, form.inputs(), [parts.launched, form.token, form.found], **QUIET).then(
        **summarize, **QUIET
    ).then(None, parts.launched, None, js=GO_TO_RUN, **QUIET)

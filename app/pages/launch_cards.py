"""What the cards of the Launch page say, as HTML."""

from __future__ import annotations

from typing import Any

from app import boxes, text
from kdengine.errors import BadInput
from kdengine.registry import METHODS, MODELS
from kdengine.rundir import short_id
from kdengine.teachers.records import PREFIX, find
from kdengine.workspace import Workspace


def waiting() -> str:
    """Stands where the cost will be."""
    return '<p class="kd-facts">Measuring…</p>'


def data_facts(facts: dict[str, Any]) -> str:
    """Sizes and sample pictures of a data set."""
    if not facts["present"]:
        classes = f"{facts['classes']} classes. " if facts["classes"] else ""
        return boxes.note(f"{facts['summary']} {classes}Downloaded and checked by the first run.")
    pictures = "".join(
        f'<figure><img src="{url}" alt="{text.escape(label)}"><figcaption>{text.escape(label)}</figcaption></figure>'
        for url, label in facts["pictures"]
    )
    return (
        f'<p class="kd-facts"><b>{facts["classes"]} classes</b> · {facts["train"]:,} to train on · '
        f"{facts['validation']:,} for validation · {facts['test']:,} to test</p>"
        f'<div class="kd-samples">{pictures}</div>'
    )


def teacher_facts(workspace: Workspace, teacher: str, needed: bool) -> str:
    """What a choice of teacher means."""
    if not needed:
        return '<p class="kd-facts kd-off">The chosen method teaches without a teacher.</p>'
    if teacher.startswith(PREFIX):
        return _imported_facts(workspace, teacher.removeprefix(PREFIX))
    if not teacher:
        return boxes.note("Choose a teacher.")
    if not teacher.startswith("run:"):
        summary = MODELS.get(teacher).summary if teacher in MODELS else ""
        how = "Trained first, as a run of its own, under the same recipe; an equal one is used again."
        return f'<p class="kd-facts">{text.escape(summary)}<br>{how}</p>'
    try:
        run = workspace.existing_run(teacher.removeprefix("run:"))
    except BadInput as error:
        return boxes.note(error.problems[0].message)
    status = run.status()
    accuracy = text.percent(status.get("test", {}).get("best", {}).get("accuracy"))
    link = f'<a href="/runs?run={text.escape(run.id)}">run {text.escape(short_id(run.id))}</a>'
    return f'<p class="kd-facts"><b>{accuracy}</b> on test, trained by {link}.</p>'


def _imported_facts(workspace: Workspace, name: str) -> str:
    try:
        imported = find(workspace, name)
    except BadInput as error:
        return boxes.note(str(error))
    checks = [f"right for {text.percent(value)} of {data}" for data, value in imported.checks.items()]
    facts = (imported.model, f"{imported.image_size} px", f"{len(imported.classes)} classes", *checks)
    return f'<p class="kd-facts"><b>Your own</b>: {text.escape(" · ".join(facts))}</p>'


def student_facts(student: str) -> str:
    """One line on a network."""
    if student not in MODELS:
        return '<p class="kd-facts">A name of the catalog, or <b>timm/</b>… or <b>torchvision/</b>…</p>'
    return f'<p class="kd-facts">{text.escape(MODELS.get(student).summary)}</p>'


def method_facts(method: str) -> str:
    """One sentence on a method, and its paper."""
    if method not in METHODS:
        return boxes.note("Choose a method of the list.")
    entry = METHODS.get(method)
    paper = f"<br><i>{text.escape(entry.paper)}</i>" if entry.paper else ""
    return f'<p class="kd-facts">{text.escape(entry.description)}{paper}</p>'


def cost(forecast: dict[str, Any], seeds: int = 1) -> str:
    """What the runs of so many seeds will cost one after the other, from a forecast of one; the teacher is shared."""
    student, teacher = forecast["student"], forecast["teacher"]
    total = seeds * forecast["seconds"] + forecast["teacher_seconds"]
    first = f" (teacher first: {text.duration(forecast['teacher_seconds'])})" if forecast["teacher_seconds"] else ""
    runs = f" for {seeds} runs, {text.duration(forecast['seconds'])} each" if seeds > 1 else ""
    lines = [
        f'<span class="big">about {text.duration(total)}</span>{runs}{first} on {text.escape(forecast["device"])}, '
        f"{text.size(forecast['memory_bytes'])} of memory, {forecast['images_per_s']:.0f} images/s",
        f"student: <b>{text.count(student['parameters'])}</b> parameters, <b>{text.count(student['macs'])}</b> MACs, "
        f"{text.size(student['bytes'])}, {student['milliseconds']:.1f} ms an image",
    ]
    if teacher:
        lines.append(
            f"teacher: {text.count(teacher['parameters'])} parameters, {text.count(teacher['macs'])} MACs, "
            f"{teacher['milliseconds']:.1f} ms: {compare(student, teacher)}"
        )
    if forecast["replay_share"] >= 0.005:
        lines.append(
            f"teacher replay saves about {text.duration(forecast['replay_seconds'])}: "
            f"{text.percent(forecast['replay_share'])} of its answers will have been given before"
        )
    if forecast["method_parameters"]:
        lines.append(f"{text.count(forecast['method_parameters'])} parameters more while training only")
    if forecast.get("beside"):
        lines.append(f"<b>{text.escape(forecast['beside'])}</b>: on the GPU it will take far less time")
    lines.append('<span class="soft">Measured just now with a few steps, beside whatever else was running.</span>')
    return f'<div class="kd-forecast kd-num">{"<br>".join(lines)}</div>'


def compare(student: dict[str, Any], teacher: dict[str, Any]) -> str:
    """How much smaller and faster the student is."""

    def ratio(key: str, more: str, less: str) -> str:
        quotient = teacher[key] / max(student[key], 1e-9)
        return f"{text.times(quotient)} {more}" if quotient >= 1 else f"{text.times(1 / quotient)} {less}"

    return f"the student is {ratio('parameters', 'smaller', 'larger')} and {ratio('milliseconds', 'faster', 'slower')}"

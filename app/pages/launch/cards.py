"""The cards of the Launch page as HTML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kdengine
from app import boxes, text
from kdengine.errors import BadInput
from kdengine.registry import METHODS, MODELS
from kdengine.teachers.records import PREFIX, find
from kdengine.workspace import Workspace
from kdengine.workspace.rundir import short_id

METHOD_PAGES = Path(kdengine.__file__).parent / "methods" / "pages"
"""Those of docs/methods: a link in a checkout, a copy in a package."""

LATEX = [{"left": "$$", "right": "$$", "display": True}, {"left": "$", "right": "$", "display": False}]


def waiting() -> str:
    """Stands where the cost will be."""
    return '<p class="kd-facts">Measuring…</p>'


def data_facts(facts: dict[str, Any]) -> str:
    """Sizes and sample images of a data set."""
    if not facts["present"]:
        classes = f"{facts['classes']} classes. " if facts["classes"] else ""
        return boxes.note(f"{facts['summary']} {classes}The first run downloads and verifies it.")
    images = "".join(
        f'<figure><img src="{url}" alt="{text.escape(label)}"><figcaption>{text.escape(label)}</figcaption></figure>'
        for url, label in facts["images"]
    )
    return (
        f'<p class="kd-facts"><b>{facts["classes"]} classes</b> · {facts["train"]:,} training · '
        f"{facts['validation']:,} validation · {facts['test']:,} test images</p>"
        f'<div class="kd-samples">{images}</div>'
    )


def teacher_facts(workspace: Workspace, teacher: str, needed: bool) -> str:
    """What a choice of teacher means."""
    if not needed:
        return '<p class="kd-facts kd-off">The chosen method needs no teacher.</p>'
    if teacher.startswith(PREFIX):
        return _imported_facts(workspace, teacher.removeprefix(PREFIX))
    if not teacher:
        return boxes.note("Choose a teacher.")
    if not teacher.startswith("run:"):
        summary = MODELS.get(teacher).summary if teacher in MODELS else ""
        how = "Trained first, as a separate run with the same recipe; an identical finished one is reused."
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
    checks = [f"{text.percent(value)} accuracy on {data}" for data, value in imported.checks.items()]
    facts = (imported.model, f"{imported.image_size} px", f"{len(imported.classes)} classes", *checks)
    return f'<p class="kd-facts"><b>Your own</b>: {text.escape(" · ".join(facts))}</p>'


def student_facts(student: str) -> str:
    """One line on a network."""
    if student not in MODELS:
        return '<p class="kd-facts">A name from the catalog, <b>timm/</b>… or <b>torchvision/</b>…</p>'
    return f'<p class="kd-facts">{text.escape(MODELS.get(student).summary)}</p>'


def method_facts(method: str) -> str:
    """One sentence on a method, and its paper."""
    if method not in METHODS:
        return boxes.note("Choose a method from the list.")
    entry = METHODS.get(method)
    paper = f'<br><i translate="no">{text.escape(entry.paper)}</i>' if entry.paper else ""
    when = f"<br><b>When:</b> {text.escape(entry.when)}" if entry.when else ""
    return f'<p class="kd-facts">{text.escape(entry.description)}{when}{paper}</p>'


def method_page(method: str) -> str:
    """Idea, equations and sources of a method in Markdown; "" where there is no page. Its links are to other files."""
    file = METHOD_PAGES / f"{method}.md"
    page = file.read_text(encoding="utf-8") if method in METHODS and file.is_file() else ""
    page = re.sub(r"```math\n(.*?)```", r"$$\n\1$$", page, flags=re.DOTALL)
    return re.sub(r"\[([^\]]+)\]\((?!https?:)[^)]*\)", r"\1", page)


def cost(forecast: dict[str, Any], seeds: int = 1) -> str:
    """What the runs of so many seeds will cost one after the other, from a forecast of one; the teacher is shared."""
    student, teacher = forecast["student"], forecast["teacher"]
    total = seeds * forecast["seconds"] + forecast["teacher_seconds"]
    first = f" (teacher first: {text.duration(forecast['teacher_seconds'])})" if forecast["teacher_seconds"] else ""
    runs = f" for {seeds} runs, {text.duration(forecast['seconds'])} each" if seeds > 1 else ""
    facts = [
        f"{runs}{first} on {text.escape(forecast['device'])}".strip(),
        f"{text.memory(forecast['memory_bytes'])} of memory",
        f"{forecast['images_per_s']:.0f} images/s",
    ]
    lines = []
    if teacher:
        lines.append(compare(student, teacher).capitalize() + ".")
    if forecast["replay_share"] >= 0.005:
        lines.append(
            f"Cached teacher logits save about {text.duration(forecast['replay_seconds'])}: "
            f"{text.percent(forecast['replay_share'])} of the teacher's logits will be read from the cache."
        )
    if forecast["method_parameters"]:
        lines.append(f"{text.count(forecast['method_parameters'])} extra parameters, during training only.")
    if forecast.get("beside"):
        lines.append(f"<b>{text.escape(forecast['beside'])}</b>: on the GPU it will take far less time.")
    lines.append('<span class="soft">Measured just now over a few steps, alongside whatever else was running.</span>')
    return (
        f'<div class="kd-forecast kd-num"><p class="big">about {text.duration(total)}</p><p>{" · ".join(facts)}</p>'
        f"{_networks(student, teacher)}<p>{'<br>'.join(lines)}</p></div>"
    )


def _networks(student: dict[str, Any], teacher: dict[str, Any] | None) -> str:
    """Student and teacher side by side."""
    both = [student, *([teacher] if teacher else [])]
    rows = (
        ("Parameters", [text.count(each["parameters"]) for each in both]),
        ("MACs per image", [text.count(each["macs"]) for each in both]),
        ("Size", [text.size(each["bytes"]) for each in both]),
        ("Time per image", [f"{each['milliseconds']:.1f} ms" for each in both]),
    )
    head = "".join(f'<th class="r">{name}</th>' for name in ("Student", "Teacher")[: len(both)])
    body = "".join(
        f"<tr><td>{name}</td>{''.join(f'<td class=r>{value}</td>' for value in values)}</tr>" for name, values in rows
    )
    return f'<table class="kd-table"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def compare(student: dict[str, Any], teacher: dict[str, Any]) -> str:
    """How much smaller and faster the student is."""

    def ratio(key: str, more: str, less: str) -> str:
        quotient = teacher[key] / max(student[key], 1e-9)
        return f"{text.times(quotient)} {more}" if quotient >= 1 else f"{text.times(1 / quotient)} {less}"

    return f"the student is {ratio('parameters', 'smaller', 'larger')} and {ratio('milliseconds', 'faster', 'slower')}"


def compiling(found: dict[str, Any] | None) -> str:
    """What torch.compile gains and costs in one run; "" where that was not measured."""
    if found is None:
        return ""
    eager, compiled = found["eager_s"], found["compiled_s"]
    times = f"{eager / compiled:.2f} times as fast"
    steps = f"Compiled, a step takes {1000 * compiled:.0f} ms instead of {1000 * eager:.0f} ms ({times}, measured here)"
    start = f"compiling takes {text.duration(found['start_s'])} at the start of a run"
    verdict = "would save" if found["saved_s"] > 0 else "would cost"
    if found["on"]:
        verdict = "saves" if found["saved_s"] > 0 else "costs"
    whole = f"over its {found['steps']:,} steps it <b>{verdict} {text.duration(abs(found['saved_s']))}</b>"
    return f'<p class="kd-facts kd-num">{steps}; {start}; {whole}.</p>'

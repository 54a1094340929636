"""What the Runs page says of one run, as HTML: how it stands, where it comes from, what goes when it is deleted."""

from __future__ import annotations

import time
from urllib.parse import quote

from app import boxes, text
from app.board import Board, Detail
from app.families import COMPARISON, Families
from app.snapshot import data_name
from kdengine.jobs.job import RACE_PREFIX, STUDY_PREFIX
from kdengine.jobs.remedies import address, offered
from kdengine.workspace.states import State

MAX_LINKS = 5
"""Students that are named one by one."""


def nothing_chosen(any_runs: bool = False, missing: str = "") -> str:
    """Shown in the place of a chosen run, as HTML."""
    if missing:
        return f'<div class="kd-empty">There is no run {text.escape(missing)} (deleted, perhaps).</div>'
    words = "Choose a run in the table." if any_runs else "Its curves, log and buttons appear here."
    return f'<div class="kd-empty">{words}</div>'


def mlflow_link(board: Board, detail: Detail, mlflow_url: str | None) -> str | None:
    """Address of the run's own page in MLflow; of all runs while it has none yet; None without MLflow's page."""
    if mlflow_url is None:
        return None
    from kdengine import tracking

    mlflow_run = tracking.address(board.workspace.run(detail.job.id))
    return f"{mlflow_url}/#{mlflow_run}" if mlflow_run else mlflow_url


def consequences(students: list[str]) -> str:
    """Which runs, by name, have a run that is about to be deleted as their teacher; "" for none."""
    if not students:
        return ""
    who = f"{len(students)} runs use" if len(students) > 1 else "One run uses"
    return boxes.note(
        f"{who} it as the teacher: {', '.join(students)}. Their results stay; Inspect and Demo can no longer show it "
        "beside them."
    )


def state(detail: Detail, mlflow: str | None, known: Families | None = None) -> str:
    """How the chosen run stands, as HTML.

    Args:
        detail: the run.
        mlflow: address of its page in MLflow; None without one.
        known: what the runs of the workspace are called and what belongs together; None where only this run is known.
    """
    job, status, e = detail.job, detail.status, text.escape
    name = (known.names.get(job.id) if known else None) or job.title or job.student or job.id
    lines = [
        f'<h2 data-tab-title="{e(name)}">{e(name)}</h2><div class="kd-facts">{_made_of(detail, known)}</div>'
        f'<span class="dot {job.state}"></span><b class="kd-now">{job.state}</b>'
    ]
    if job.is_controller:
        lines.append(f" · {e(status.get('phase') or '')}" if status.get("phase") else "")
    elif job.state in (State.RUNNING, State.STARTING, State.STOPPING):
        lines.append(_under_way(detail))
    elif job.state == State.QUEUED:
        lines.append(f" · {e(job.message or 'waiting for a free slot')}")
    else:
        took = [text.duration(job.ended - job.started)] if job.ended and job.started else []
        facts = (*took, f"attempt {job.attempt}", f"{text.size(detail.size)} on disk")
        lines.append("".join(f" · {fact}" for fact in facts))
    lines.append(_accuracies(detail))
    if status.get("lacking"):
        lines.append(boxes.warnings([f"It trains on the CPU, not on a GPU: {status['lacking']}."]))
    if detail.damaged:
        lines.append(f'<div class="kd-failure" role="alert"><b>damaged</b>: {e(detail.damaged)}</div>')
    if job.state in (State.FAILED, State.LOST):
        lines.append(
            f'<div class="kd-failure" role="alert"><b>{e(job.reason or "unknown")}</b>: {e(job.message or "")}'
            f"<br>{e(job.advice or '')}{_remedies(detail)}</div>"
        )
    links = [*_lineage(detail, known), *_elsewhere(mlflow)]
    lines.append(f'<div class="kd-facts kd-lineage">{" · ".join(links)}</div>')
    who = f"{e(job.id)} · by {e(job.owner)}"
    lines.append(f'<div class="kd-facts"><span class="id">{who}</span></div>')
    return f'<div class="kd-state kd-num">{"".join(lines)}</div>'


def _made_of(detail: Detail, known: Families | None) -> str:
    """Networks, method, data and seed in one line of HTML."""
    job = detail.job
    teacher = known.teachers.get(job.id, job.teacher) if known else job.teacher
    networks = f"{teacher} → {job.student}" if teacher else job.student
    seed = f"seed {detail.spec['seed']}" if isinstance(detail.spec.get("seed"), int) else ""
    parts = (networks, job.method, data_name(detail.spec) or job.dataset, seed)
    return " · ".join(text.escape(part) for part in parts if part)


def _lineage(detail: Detail, known: Families | None) -> list[str]:
    """Links to what the run belongs to, learnt from, and taught."""
    job, status, e = detail.job, detail.status, text.escape
    links = []
    if race := job.id.removeprefix(RACE_PREFIX) if job.kind == "race" else status.get("race"):
        links.append(f'<a href="/race?name={quote(str(race))}">the race</a>')
    study = job.id if job.kind == "study" else status.get("study")
    if study:
        trial = f"trial {e(status['trial'])} of its study" if "trial" in status else "the study"
        links.append(f'<a href="/studies?name={quote(str(study).removeprefix(STUDY_PREFIX))}">{trial}</a>')
    group = known.groups.get(job.id) if known else None
    if group is not None and group.kind == COMPARISON:
        links.append(f'<a href="{e(group.address)}">{e(group.id)}</a>')
    if gone := status.get("teacher_deleted"):
        links.append(f"its teacher, {e(gone.get('name') or gone.get('student') or gone.get('run'))}, was deleted")
    elif teacher := status.get("teacher_run"):
        called = f": {e(known.names[teacher])}" if known and teacher in known.names else ""
        links.append(f'<a href="/runs?run={e(teacher)}">its teacher{called}</a>')
    students = known.students.get(job.id, []) if known else []
    if known and students:
        named = [f'<a href="/runs?run={e(each)}">{e(known.names[each])}</a>' for each in students[:MAX_LINKS]]
        more = [f"{len(students) - MAX_LINKS} more"] if len(students) > MAX_LINKS else []
        links.append(f"teacher of {', '.join([*named, *more])}")
    return links


def _elsewhere(mlflow: str | None) -> list[str]:
    return [f'<a href="{text.escape(mlflow)}" target="_blank" rel="noopener">MLflow</a>'] if mlflow else []


def _remedies(detail: Detail) -> str:
    """What would fit, each a link to Launch, where the run is filled in with that change."""
    lines = [
        f'<li><a href="{text.escape(address(detail.job.id, each))}">Launch with {text.escape(each["label"])}</a>'
        f'<br><span class="sub">{text.escape(each["note"])}</span></li>'
        for each in offered(detail.status)
    ]
    return f'<ul class="kd-remedies">{"".join(lines)}</ul>' if lines else ""


def _under_way(detail: Detail) -> str:
    job, status = detail.job, detail.status
    at = status.get("progress") or {"epoch": 0, "epochs": 1, "step": 0, "steps": 1}
    share = (at["epoch"] + at["step"] / max(1, at["steps"])) / max(1, at["epochs"])
    stop = ""
    if job.state == State.STOPPING and job.stopping_since:
        stop = f" · stopping for {text.duration(time.time() - job.stopping_since)}; killed after 30 s"
    silent = text.duration(time.time() - (status.get("progress_at") or time.time()))
    late = f' <span class="kd-badge stalled">stalled: no step for {silent}</span>' if detail.stalled else ""
    parts = [
        text.escape(status.get("phase") or ""),
        f"epoch {min(at['epoch'] + 1, at['epochs'])} of {at['epochs']}, step {at['step']} of {at['steps']}",
        f"{status.get('images_per_s', 0):.0f} images/s",
        f"{text.duration(status.get('eta_s'))} left",
    ]
    beat = (
        f"last heartbeat {text.ago(detail.last_beat)}"
        if detail.last_beat and time.time() - detail.last_beat > 25
        else ""
    )
    return (
        f' · {" · ".join(parts)}{stop}{late} {beat}<div class="kd-bar"><i style="width:{100 * share:.1f}%"></i></div>'
    )


def _accuracies(detail: Detail) -> str:
    status = detail.status
    best, test = status.get("best") or {}, status.get("test") or {}
    if not best:
        return ""
    parts = [f"best validation <b>{text.percent(best.get('accuracy'))}</b> (epoch {best.get('epoch')})"]
    if test:
        on_test = {name: text.percent(numbers["accuracy"]) for name, numbers in test.items()}
        parts.append(f"test <b>{on_test['best']}</b> (best), {on_test['last']} (last)")
        exits = [
            f"{text.escape(name)} {text.percent(numbers['accuracy'])}"
            for name, numbers in test.items()
            if name not in ("best", "last")
        ]
        parts += ["early exits on test: " + ", ".join(exits)] if exits else []
    if detail.teacher_test is not None:
        parts.append(f"teacher {text.percent(detail.teacher_test)} on test")
    return f"<div>{' · '.join(parts)}</div>"

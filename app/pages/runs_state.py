"""What the Runs page says, as HTML: the table, how one run stands, what goes with it when it is deleted."""

from __future__ import annotations

import time

from app import boxes, text
from app.board import Board, Detail, Row
from kdengine.jobs.job import STUDY_PREFIX
from kdengine.jobs.remedies import address, offered
from kdengine.rundir import short_id
from kdengine.states import State

SUPERVISOR_GONE = (
    "The supervisor, which starts and stops runs, has ended; it is being started again. Runs under way go on."
)

# the table ----------------------------------------------------------------------------------------------------------


def table(rows: list[Row], watched: bool) -> str:
    if not rows:
        how = 'Start one on the <a href="/">Launch</a> page, or with <code>kd train</code>.'
        return f'<div class="kd-empty">No runs yet.<br>{how}</div>'
    head = "".join(f"<th>{title}</th>" for title in ("", "Run", "Data", "Method")) + "".join(
        f'<th class="r">{title}</th>' for title in ("Best val.", "Test", "Time")
    )
    body = "".join(_table_row(row) for row in rows)
    gone = "" if watched else boxes.problems([SUPERVISOR_GONE])
    return (
        f'{gone}<div class="kd-chips"></div><div class="kd-tablebox"><table class="kd-table">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _table_row(row: Row) -> str:
    e = text.escape
    badge = ' <span class="kd-badge stalled">stalled</span>' if row.stalled else ""
    badge += f' <span class="kd-badge damaged" title="{e(row.damaged)}">damaged</span>' if row.damaged else ""
    own = f"<b>{e(row.title)}</b><br>" if row.title else ""
    networks = f"<b>{e(row.name)}</b>" if row.kind == "study" else own + _networks(row.teacher, row.student)
    when = (
        f"queue: {row.position}"
        if row.position
        else (f"{text.duration(row.eta)} left" if row.eta else text.duration(row.seconds))
    )
    how_far = f"epoch {row.progress}" if row.progress and row.kind == "train" else row.progress
    return (
        f'<tr data-run="{e(row.id)}" data-state="{row.state}" data-data="{e(row.dataset)}" '
        f'data-method="{e(row.method)}" tabindex="0">'
        f'<td><span class="dot {row.state}" title="{row.state}"></span></td>'
        f'<td>{networks}{badge}<br><span class="id"><span data-filter="state={row.state}">{row.state}</span>'
        f" · {_when(row.submitted)} · {e(short_id(row.id))}</span></td>"
        f'<td><span data-filter="data={e(row.dataset)}">{e(row.dataset)}</span></td>'
        f'<td><span data-filter="method={e(row.method)}">{e(row.method)}</span></td>'
        f'<td class="r">{text.percent(row.best)}</td><td class="r">{text.percent(row.test)}</td>'
        f'<td class="r">{e(when)}<br><span class="sub">{e(how_far)}</span></td></tr>'
    )


def _networks(teacher: str, student: str) -> str:
    return f"{text.escape(_short(teacher))} → {text.escape(student)}" if teacher else text.escape(student)


def _when(moment: float) -> str:
    return time.strftime("%d %b %H:%M", time.localtime(moment))


def _short(teacher: str) -> str:
    return f"run {short_id(teacher)}" if len(teacher) > 24 else teacher


# one run ------------------------------------------------------------------------------------------------------------


def nothing_chosen(any_runs: bool = False, missing: str = "") -> str:
    if missing:
        return f'<div class="kd-empty">There is no run {text.escape(missing)} (deleted, perhaps).</div>'
    words = "Choose a run on the left." if any_runs else "Its curves, log and buttons will stand here."
    return f'<div class="kd-empty">{words}</div>'


def mlflow_link(board: Board, detail: Detail, mlflow_url: str | None) -> str | None:
    """Address of the run's own page in MLflow; of all runs while it has none yet; None without MLflow's page."""
    if mlflow_url is None:
        return None
    from kdengine import tracking

    twin = tracking.address(board.workspace.run(detail.job.id))
    return f"{mlflow_url}/#{twin}" if twin else mlflow_url


def consequences(board: Board, run_id: str) -> str:
    """Who is taught by a run that is about to be deleted; "" for nobody."""
    students = [short_id(each) for each in board.store.dependents(run_id)] if run_id else []
    if not students:
        return ""
    who = f"{len(students)} runs are" if len(students) > 1 else "One run is"
    return boxes.note(
        f"{who} taught by it: {', '.join(students)}. What they have learnt stays; looking at both side by side goes."
    )


def state(detail: Detail, mlflow: str | None) -> str:
    job, status, e = detail.job, detail.status, text.escape
    name = e(job.title) if job.title else _networks(job.teacher, job.student)
    lines = [f'<h2>{name}</h2><span class="dot {job.state}"></span><b class="kd-now">{job.state}</b>']
    if job.is_controller:
        lines.append(f" · {e(status.get('phase') or '')}" if status.get("phase") else "")
    elif job.state in (State.RUNNING, State.STARTING, State.STOPPING):
        lines.append(_under_way(detail))
    elif job.state == State.QUEUED:
        lines.append(f" · {e(job.message or 'waits for a free place')}")
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
    links = [f'<span class="id">{e(job.id)} · {e(job.dataset)} · by {e(job.owner)}</span>']
    study = job.id if job.kind == "study" else status.get("study")
    if study:
        name = e(str(study).removeprefix(STUDY_PREFIX))
        trial = f"trial {status['trial']} of its study" if "trial" in status else "the whole study"
        links.append(f'<a href="/studies?name={name}">{trial}</a>')
    if gone := status.get("teacher_deleted"):
        links.append(f"its teacher, {e(gone.get('name') or gone.get('student') or gone.get('run'))}, was deleted")
    elif status.get("teacher_run"):
        links.append(f'<a href="/runs?run={e(status["teacher_run"])}">its teacher</a>')
    if mlflow:
        links.append(f'<a href="{e(mlflow)}" target="_blank" rel="noopener">MLflow</a>')
    lines.append(f'<div class="kd-facts">{" · ".join(links)}</div>')
    return f'<div class="kd-state kd-num">{"".join(lines)}</div>'


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
        f"{status.get('images_per_s', 0):.0f} pictures/s",
        f"{text.duration(status.get('eta_s'))} left",
    ]
    beat = (
        f"last sign of life {text.ago(detail.last_beat)}"
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
        parts += ["exits on test: " + ", ".join(exits)] if exits else []
    if detail.teacher_test is not None:
        parts.append(f"teacher {text.percent(detail.teacher_test)} on test")
    return f"<div>{' · '.join(parts)}</div>"

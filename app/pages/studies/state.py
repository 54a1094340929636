"""The right side of the Studies page as HTML: how a study stands, what its confirmation says, its trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app import text
from kdengine.workspace.states import State
from studies import words

if TYPE_CHECKING:
    from kdengine.jobs import Job
    from studies.confirm import Confirmation
    from studies.trials import StudyView, TrialRow

DOTS = {"complete": "finished", "running": "running", "waiting": "queued", "pruned": "stopped", "fail": "failed"}


def no_study() -> str:
    """Stands where a study will be."""
    return (
        '<div class="kd-empty">No study yet.<br>Start from a ready-made one on the left, or with '
        "<code>kd study new first --ready kd</code>.</div>"
    )


def state(now: StudyView, job: Job | None) -> str:
    """State, trials, best against default, epochs saved, at a glance."""
    e = text.escape
    most = now.plan.budget.trials
    said = str(job.state) if job is not None else "elsewhere"
    at_work = job is not None and not job.state.ended
    parts = [f'<span class="dot {e(said)}"></span><b class="kd-now">{e(said)}</b>']
    parts.append(f"<b>{now.counted}</b> of {most} trials" if most else f"<b>{now.counted}</b> trials")
    parts += [f"{now.count(kind)} {kind}" for kind in ("running", "waiting") if now.count(kind)]
    parts += [f"{now.count('fail')} failed"] if now.count("fail") else []
    parts += ["stops after the current trials"] if at_work and now.ending else []
    parts += ["every point of the grid has been tried"] if now.exhausted else []
    lines = [f"<div>{' · '.join(parts)}</div>", _bar(now, at_work), _best(now), _saved(now)]
    if job is not None and job.state in (State.FAILED, State.LOST):
        lines.append(
            f'<div class="kd-failure" role="alert"><b>{e(job.reason or "unknown")}</b>: {e(job.message or "")}'
            f"<br>{e(job.advice or '')}</div>"
        )
    link = f' · <a href="/runs?run={e(job.id)}">its log</a>' if job is not None else ""
    lines.append(f'<div class="kd-facts">{e(now.plan.pair)}{link}</div>')
    return f'<div class="kd-state kd-num">{"".join(lines)}</div>'


def _bar(now: StudyView, at_work: bool) -> str:
    if not at_work or not now.plan.budget.trials:
        return ""
    share = min(1.0, now.counted / now.plan.budget.trials)
    return f'<div class="kd-bar"><i style="width:{100 * share:.1f}%"></i></div>'


def _best(now: StudyView) -> str:
    best, default = now.best, now.default
    if best is None:
        return ""
    said = f"best <b>{words.trial_value(now, best)}</b>"
    if default is None or not default.values:
        return f"<div>{said}</div>"
    gain = ""
    if best.number != default.number and now.plan.metrics[0] == "accuracy":
        gain = f", {100 * (best.values[0] - default.values[0]):+.1f} points on the validation images"
    return f"<div>{said} · default {words.trial_value(now, default)}{gain}</div>"


def _saved(now: StudyView) -> str:
    if not now.counted or now.plan.pruner == "none":
        return ""
    share = f"{100 * now.saved:.0f} %" if now.saved > 0 else "none yet"
    return f"<div>epochs saved by pruning: {share} ({now.epochs_run:,} of {now.epochs_planned:,} trained)</div>"


def confirmation(found: Confirmation) -> str:
    """Defaults and tuned values: their accuracy in the search, and on fresh seeds."""

    def line(arm: str, promised: float | None) -> str:
        cells = [text.percent(promised), *(words.spread_values(found, part, arm) for part in ("validation", "test"))]
        return f"<tr><td>{arm}</td>" + "".join(f'<td class="r">{cell}</td>' for cell in cells) + "</tr>"

    heads = ("In the search", f"Validation, {len(found.seeds)} fresh seeds", "Test, fresh seeds")
    head = "<th>Values</th>" + "".join(f'<th class="r">{title}</th>' for title in heads)
    left = "" if found.finished == found.total else f"{found.finished} of {found.total} runs finished. "
    stopped = "" if found.under_way or not left else "The others ended early; Compare resumes them. "
    verdict = words.verdict(found)
    return (
        '<span class="kd-head">Confirmation on fresh seeds</span>'
        f'<p class="kd-finding">{text.escape(verdict[0].upper() + verdict[1:])}.</p>'
        f'<div class="kd-tablebox"><table class="kd-table"><thead><tr>{head}</tr></thead><tbody>'
        f"{line('defaults', found.default_promised)}{line('tuned', found.promised)}</tbody></table></div>"
        f'<p class="kd-facts">{left}{stopped}Tuned values: {text.escape(_values(found.params))}. '
        f'<a href="/compare?name={text.escape(found.plan.name)}">Full comparison</a></p>'
    )


def _values(params: dict[str, Any]) -> str:
    return ", ".join(f"{words.short_name(path)} {words.setting_value(value)}" for path, value in params.items())


def table(now: StudyView) -> str:
    """Every trial: state, values, settings, epochs, where it came from, its runs."""
    if not now.trials:
        return '<div class="kd-empty">The first trial starts in a moment.</div>'
    paths = [each.field for each in now.plan.searched]
    titles = [("Trial", "", "r"), ("Runs", "", ""), ("State", "", "")]
    titles += [(name, words.axis(name), "r") for name in now.plan.metrics]
    titles += [(words.short_name(path), path, "r") for path in paths]
    titles += [("Epochs", "", "r"), ("Remark", "", ""), ("Note", "", "")]
    head = "".join(_head(*each) for each in titles)
    best = now.best.number if now.best else None
    body = "".join(_row(row, now, paths, row.number == best) for row in now.trials)
    return (
        f'<div class="kd-tablebox"><table class="kd-table kd-trials"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _head(name: str, hint: str, side: str) -> str:
    """A title that `assets/trials_table.js` sorts by."""
    title = f' title="{text.escape(hint)}"' if hint else ""
    if name == "Runs":
        return f'<th scope="col">{name}</th>'
    return f'<th scope="col" class="{side}"{title}><button type="button">{text.escape(name)}</button></th>'


def _row(row: TrialRow, now: StudyView, paths: list[str], best: bool) -> str:
    e = text.escape
    values = [words.metric_value(name, value) for name, value in zip(now.plan.metrics, row.values, strict=False)]
    numbers: list[tuple[str, Any]] = [*zip(values, row.values, strict=False)]
    numbers += [("", None)] * (len(now.plan.metrics) - len(values))
    numbers += [(words.setting_value(row.params.get(path)), row.params.get(path)) for path in paths]
    numbers += [(str(row.epochs), row.epochs)]
    cells = "".join(f'<td class="r" data-sort="{e("" if by is None else by)}">{e(cell)}</td>' for cell, by in numbers)
    return (
        f'<tr class="{"chosen" if best else ""}"><td class="r">{row.number}</td>'
        f'<td class="n">{_links(row, now)}</td>'
        f'<td class="n"><span class="dot {DOTS.get(row.state, "")}"></span>{e(row.state)}</td>{cells}'
        f'<td class="why">{e(words.remark(row, now))}</td><td class="said">{_note(row)}</td></tr>'
    )


def _note(row: TrialRow) -> str:
    """What a person said of it, as a button that lets it be changed."""
    said = f'<span translate="no">{text.escape(row.note)}</span>' if row.note else "+"
    return f'<button type="button" data-note="{row.number}" aria-label="Note on trial {row.number}">{said}</button>'


def _links(row: TrialRow, now: StudyView) -> str:
    e = text.escape
    trained = row.tries > 0 and (row.epochs > 0 or row.state not in ("pruned", "waiting"))
    names = ["run"] if len(row.runs) == 1 else [f"seed {seed}" for seed in now.plan.seeds]
    links = [f'<a href="/runs?run={e(run)}">{name}</a>' for name, run in zip(names, row.runs, strict=True) if trained]
    if row.state == "complete":
        links.append(
            f'<a href="/launch?study={e(now.plan.name)}&amp;trial={row.number}" title="Open on Launch">use</a>'
        )
    return " ".join(links)

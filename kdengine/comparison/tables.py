"""A report as text: for the shell, CSV, Markdown, LaTeX and HTML. All say the same; all numbers carry n and spread."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable

from kdengine.comparison.plan import ALONE, Search
from kdengine.comparison.report import Gain, Report, Row
from kdengine.comparison.statistics import Spread
from kdengine.figures.forest import forest

Cells = tuple[str, ...]


def columns(report: Report, *, brief: bool = False) -> Cells:
    """Titles of the columns of `rows`; ``brief`` leaves out what does not fit a terminal."""
    return tuple(title for title, shown in _titles(report).items() if not brief or shown)


def rows(report: Report, *, brief: bool = False) -> list[Cells]:
    """A line of text cells for each arm."""
    shown = list(_titles(report).values())
    whole = [_row(row, _has_kd(report)) for row in report.rows]
    if _is_tuned(report):
        whole = [_with_search(cells, row.search) for cells, row in zip(whole, report.rows, strict=True)]
    return [tuple(cell for cell, kept in zip(cells, shown, strict=True) if kept or not brief) for cells in whole]


MEANINGS = {
    "arm": "What differs: a method, its settings, the student or the teacher.",
    "n": "Finished seeds.",
    "test, best (%)": "Test accuracy of the weights best by validation: mean ± standard deviation.",
    "verdict": "helps or hurts where the 95 % interval leaves out zero; * where it holds for all arms together.",
    "minus kd": "Difference to soft targets, paired by seed, with its 95 % interval.",
    "verdict to kd": "The same verdict against soft targets.",
    "test, last (%)": "Test accuracy of the weights of the last epoch.",
    "validation (%)": "Best validation accuracy.",
    "ECE (%)": "Expected calibration error: how far confidence and accuracy lie apart.",
    "as the teacher (%)": "How often student and teacher predict the same class.",
    "KL (nats)": "Divergence of the student's probabilities from the teacher's.",
    "parameters": "Of what is deployed.",
    "MACs": "Multiply-accumulates for one image.",
    "ms": "Median time of one image alone on one CPU thread.",
    "minutes": "Of training.",
    "settings found": "What the search found for a tuned arm; all else is as in the arm above it.",
    "search": "Trials and epochs that the search has used, and what validation promised beside the defaults.",
}
"""What a column shows, by its title; of the difference to the baseline, `notes` say it."""

CORE = 5
"""So many columns say what a comparison is about: arm, n, test accuracy, difference, verdict. They come first."""


def core(report: Report) -> int:
    """How many columns come first: those, and the settings found where arms were tuned."""
    return CORE + _is_tuned(report)


def _minus(report: Report) -> str:
    return "minus alone" if report.baseline == ALONE else f"minus {report.baseline}"


def _has_kd(report: Report) -> bool:
    return any(row.gain_to_kd for row in report.rows)


def _titles(report: Report) -> dict[str, bool]:
    """Title of each column, and whether a terminal shows it."""
    kd = {"minus kd": True, "verdict to kd": False} if _has_kd(report) else {}
    return (
        {"arm": True, "n": True, "test, best (%)": True, _minus(report): True, "verdict": True}
        | ({"settings found": True} if _is_tuned(report) else {})
        | kd
        | {
            "test, last (%)": False,
            "validation (%)": False,
            "ECE (%)": False,
            "as the teacher (%)": True,
            "KL (nats)": False,
            "parameters": False,
            "MACs": False,
        }
        | {"ms": True, "minutes": False}
        | ({"search": False} if _is_tuned(report) else {})
    )


def _is_tuned(report: Report) -> bool:
    return any(row.search for row in report.rows)


def _row(row: Row, kd: bool) -> Cells:
    n = row.best.n if row.best else 0
    return (
        row.name, str(n) if n == row.wanted else f"{n} of {row.wanted}", spread(row.best),
        *gain(row.gain),
        *(gain(row.gain_to_kd) if kd else ()),
        spread(row.last), spread(row.validation),
        spread(row.ece, 1), spread(row.agreement, 1), spread(row.kl, 3),
        f"{row.parameters:,}" if row.parameters else "", f"{row.macs / 1e6:.1f} M" if row.macs else "",
        spread(row.milliseconds, 2, bare=True), spread(row.minutes, 1, bare=True),
    )  # fmt: skip


def _with_search(cells: Cells, search: Search | None) -> Cells:
    found, used = searched(search)
    return (*cells[:CORE], found, *cells[CORE:], used)


def searched(search: Search | None) -> Cells:
    """Settings that a search has found, and what it cost and promised."""
    if search is None:
        return "", ""
    values = ", ".join(f"{path.partition('.')[2]} {_number(value)}" for path, value in search.values.items())
    default = f", defaults {100 * search.default:.1f} %" if search.default is not None else ""
    used = f"{search.trials} trials, {search.epochs} epochs, validation {100 * search.validation:.1f} %{default}"
    return values, used


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def spread(value: Spread | None, digits: int = 2, *, bare: bool = False) -> str:
    """Mean ± standard deviation; the mean alone for a single run, or where ``bare``."""
    if value is None:
        return ""
    mean = f"{value.mean:.{digits}f}"
    return mean if bare or value.n == 1 else f"{mean} ± {value.deviation:.{digits}f}"


def gain(value: Gain | None) -> Cells:
    """Difference with its interval, and the verdict."""
    if value is None:
        return "", ""
    gap = value.difference
    if gap.n < 2:
        return f"{gap.mean:+.2f}", value.verdict
    return f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]", value.verdict + (" *" if value.holds else "")


def notes(report: Report) -> list[str]:
    """What a reader must know: n, hardware, how to read the columns."""
    arms = sum(row.gain is not None for row in report.rows)
    by_chance = f"{0.025 * arms:.1f}".rstrip("0").rstrip(".")
    return [
        f"{report.finished} of {report.total} runs finished"
        + (f", {report.failed} failed" if report.failed else "")
        + (f"; {'; '.join(report.hardware)}" if report.hardware else "")
        + ".",
        "Mean ± standard deviation over n seeds. Test accuracy of the weights best by validation; differences to "
        f"{report.against} are paired by seed, with 95 % intervals (Student's t).",
        f"Without any real gain, {by_chance} of {arms} arms would be said to help; * holds for all arms together "
        "(Holm).",
        *_about_tuning(report),
        *report.doubts,
    ]


def _about_tuning(report: Report) -> list[str]:
    """How the tuned arms were made, and what they are measured against."""
    tuning = report.plan.tuning
    if tuning is None:
        return []
    budget = " and at most ".join(
        f"{count} {what}" for count, what in ((tuning.trials, "trials"), (tuning.epochs, "epochs")) if count
    )
    return [
        f"Tuned arms: for each arm, the student alone among them, {budget} searched the learning rate and what its "
        "method declares as tunable, from its defaults, on validation images and a seed that no arm here has. Tuned "
        "arms are measured against tuned ones."
    ]


def as_csv(report: Report) -> str:
    """Comma separated, with plain numbers: one line an arm."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["arm", "n", "test_best", "test_best_sd", "test_last", "test_last_sd", "validation", "validation_sd",
         "gain", "gain_low", "gain_high", "gain_p", "verdict", "gain_to_kd", "gain_to_kd_low", "gain_to_kd_high",
         "ece", "agreement", "kl", "parameters", "macs", "milliseconds", "minutes",
         *(("found", "trials", "epochs", "search_validation", "default_validation") if _is_tuned(report) else ()),
         *(f"class {name}" for name in report.classes)]
    )  # fmt: skip
    for row in report.rows:
        writer.writerow([_plain(cell) for cell in [*_numbers(row), *_search_numbers(report, row), *row.per_class]])
    return out.getvalue()


def _numbers(row: Row) -> list[object]:
    own, kd = row.gain, row.gain_to_kd
    gap, to_kd = (own.difference if own else None), (kd.difference if kd else None)
    return [
        row.name, row.best.n if row.best else 0,
        *(part for value in (row.best, row.last, row.validation)
          for part in ((value.mean, value.deviation) if value else ("", ""))),
        *((gap.mean, gap.low, gap.high, gap.p, own.verdict) if gap and own else ("",) * 5),
        *((to_kd.mean, to_kd.low, to_kd.high) if to_kd else ("",) * 3),
        *(value.mean if value else "" for value in (row.ece, row.agreement, row.kl)),
        row.parameters or "", row.macs or "",
        *(value.mean if value else "" for value in (row.milliseconds, row.minutes)),
    ]  # fmt: skip


def _search_numbers(report: Report, row: Row) -> list[object]:
    found = row.search
    if not _is_tuned(report):
        return []
    if found is None:
        return [""] * 5
    values = " ".join(f"{path}={_plain(value)}" for path, value in found.values.items())
    return [values, found.trials, found.epochs, found.validation, "" if found.default is None else found.default]


def _plain(cell: object) -> object:
    return f"{cell:.6g}" if isinstance(cell, float) else cell


def as_markdown(report: Report) -> str:
    """A page with the table, the table by class, and the notes."""
    parts = [f"# {report.plan.name}", "", *(f"{note}  " for note in notes(report)), ""]
    parts += _markdown(columns(report), rows(report))
    if report.classes:
        parts += ["", "## Test accuracy by class (%)", ""]
        parts += _markdown(("arm", *report.classes), by_class(report))
    return "\n".join(parts) + "\n"


def by_class(report: Report) -> list[Cells]:
    """Mean test accuracy of each class, a line an arm."""
    return [(row.name, *(f"{value:.1f}" for value in row.per_class)) for row in report.rows if row.per_class]


def _markdown(head: Cells, body: list[Cells]) -> list[str]:
    lines = [head, ("---",) * len(head), *body]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]


def as_latex(report: Report) -> str:
    """A ``booktabs`` table of accuracies, gains and verdicts, with the notes below it."""
    titles = ("Arm", "$n$", r"Test (\%)", _tex(_minus(report)), r"95\,\% interval", "Verdict")
    lines = [r"\begin{tabular}{lrrrll}", r"\toprule", " & ".join(titles) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex_row(row)) + r" \\" for row in report.rows]
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    lines += [rf"\par\footnotesize {_tex(note)}" for note in notes(report)]
    return "\n".join(lines) + "\n"


def _latex_row(row: Row) -> Cells:
    gap = row.gain.difference if row.gain else None
    _, verdict = gain(row.gain)
    test = spread(row.best).replace(" ± ", r" \pm ")
    return (
        _tex(row.name),
        str(row.best.n if row.best else 0),
        f"${test}$" if test else "--",
        f"${gap.mean:+.2f}$" if gap else "",
        f"$[{gap.low:+.2f}, {gap.high:+.2f}]$" if gap and gap.n > 1 else "",
        _tex(verdict),
    )


def _tex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"±": r"$\pm$"}
    return "".join(signs.get(sign, sign) for sign in text)


def as_html(report: Report) -> str:
    """A page that stands alone: figure of the gains, table, table by class, notes."""
    from kdengine.figures import comparison

    figure = comparison.gains(report_gains(report), report.against).to_html(full_html=False, include_plotlyjs="cdn")
    parts = [
        f"<!doctype html><meta charset='utf-8'><title>{html.escape(report.plan.name)}</title>{_STYLE}",
        f"<h1>{html.escape(report.plan.name)}</h1>",
        *(f"<p>{html.escape(note)}</p>" for note in notes(report)),
        figure,
        html_table(columns(report), rows(report)),
    ]
    if report.classes:
        parts += ["<h2>Test accuracy by class (%)</h2>", html_table(("arm", *report.classes), by_class(report))]
    return "\n".join(parts) + "\n"


def html_table(head: Cells, body: list[Cells]) -> str:
    """A table in HTML, every cell escaped."""
    title = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in body]
    return f"<table><thead><tr>{title}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


_STYLE = """<style>
body { font: 14px system-ui, sans-serif; margin: 2rem; } table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .25rem .6rem; border-bottom: 1px solid #d0d5dd; text-align: right; white-space: nowrap; }
td:first-child, th:first-child { text-align: left; }
</style>"""


def report_gains(report: Report) -> list[dict[str, object]]:
    """What the figure of the gains shows: name, mean, low, high, n and verdict of each arm that has a gain."""
    return [
        {"name": row.name, "mean": gap.mean, "low": gap.low, "high": gap.high, "n": gap.n, "verdict": row.gain.verdict}
        for row in report.rows
        if row.gain is not None
        for gap in (row.gain.difference,)
    ]


def as_svg(report: Report) -> str:
    """The figure of the gains as a drawing for a paper."""
    return forest(report_gains(report), report.against)


FORMATS: dict[str, Callable[[Report], str]] = {
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
    "svg": as_svg,
}
SUFFIXES = {"csv": ".csv", "markdown": ".md", "latex": ".tex", "html": ".html", "svg": ".svg"}

"""What came of many images, as HTML: how many, what could not be read, the score, the worst mistakes, first lines."""

from __future__ import annotations

from typing import Any

from app import text
from kdengine.figures.images import data_url

NAMED = 20
"""Files and folders that are named; of more only the number is said."""


def summary_of(found: dict[str, Any]) -> str:
    """How many images of the task `classify_all`, what was left out, and the score."""
    refused = found["refused"]
    said = f", {len(refused)} could not be read" if refused else ""
    lead = f'<p class="kd-lead">{found["count"]:,} images{said}.</p>'
    return "".join([lead, _left_out(refused), _strange(found["strange"]), _scores(found["scores"])])


def details_of(found: dict[str, Any]) -> str:
    """The worst mistakes, and the first lines of the table."""
    mistakes = "".join(_mistakes(name, score) for name, score in found["scores"].items())
    lines = _first_lines(found)
    if mistakes:
        lines = f"<details><summary>First predictions</summary>{lines}</details>"
    return mistakes + lines


def _left_out(refused: list[tuple[str, str]]) -> str:
    if not refused:
        return ""
    lines = "".join(f"<li>{text.escape(_with_name(file, problem))}</li>" for file, problem in refused[:NAMED])
    return f'<div class="kd-warnings" role="status">Left out:<ul>{lines}{_more(len(refused) - NAMED)}</ul></div>'


def _with_name(file: str, problem: str) -> str:
    return problem if file in problem else f"{file}: {problem}"


def _strange(folders: dict[str, int]) -> str:
    if not folders:
        return ""
    lines = "".join(
        f"<li>{text.escape(name or 'no folder')}: {count:,} {'image' if count == 1 else 'images'}</li>"
        for name, count in list(folders.items())[:NAMED]
    )
    head = "Classified, but not scored, for the network has no class of that name:"
    return f'<div class="kd-warnings" role="status">{head}<ul>{lines}{_more(len(folders) - NAMED)}</ul></div>'


def _more(count: int) -> str:
    return f"<li>and {count:,} more</li>" if count > 0 else ""


def _scores(scores: dict[str, Any]) -> str:
    if not scores:
        return ""
    rows = "".join(
        f"<tr><td>{text.escape(name)}</td><td class='r'><b>{_share(score)}</b></td>"
        f"<td class='r'>{score['right']:,} of {score['images']:,}</td></tr>"
        for name, score in scores.items()
    )
    heads = "<th>Student</th><th class='r'>Accuracy</th><th class='r'>Right</th>"
    return (
        f'<div class="kd-tablebox"><table class="kd-table" id="demo-scores"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _share(score: dict[str, Any]) -> str:
    return text.percent(score["right"] / score["images"]) if score["images"] else "–"


def _mistakes(name: str, score: dict[str, Any]) -> str:
    if not score["mistakes"]:
        return ""
    wrong, listed = score["images"] - score["right"], len(score["mistakes"])
    count = f"the {listed} most confident of {wrong:,}" if wrong > listed else f"all {wrong}"
    cards = "".join(map(_mistake, score["mistakes"]))
    return (
        f'<h2 class="kd-worst">Mistakes of {text.escape(name)}, worst first: {count}</h2>'
        f'<div class="kd-mistakes">{cards}</div>'
    )


def _mistake(one: dict[str, Any]) -> str:
    file, truth, predicted = (text.escape(one[key]) for key in ("file", "truth", "predicted"))
    return (
        f'<figure title="{file}"><img src="{data_url(one["pixels"])}" alt="{file}"><figcaption><b>{truth}</b>'
        f'<span class="kd-wrong">✗ {predicted} {text.percent(one["confidence"])}</span></figcaption></figure>'
    )


def _first_lines(found: dict[str, Any]) -> str:
    if not found["first"]:
        return ""
    e = text.escape
    heads = "".join(f"<th>{e(name)}</th>" for name in found["students"])
    rows = "".join(
        f"<tr><td>{e(file)}</td>"
        + "".join(f"<td>{e(name)} <span class='sub'>{text.percent(share)}</span></td>" for name, share in tops)
        + "</tr>"
        for file, tops in found["first"]
    )
    more = found["count"] - len(found["refused"]) - len(found["first"])
    rest = f'<p class="kd-facts">{more:,} more in the table</p>' if more else ""
    return (
        f'<div class="kd-tablebox"><table class="kd-table"><thead><tr><th>File</th>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{rest}"
    )

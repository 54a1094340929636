"""The cards of the Begin page and the list of the last runs, as HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app import ready, text
from app.board import Row
from app.theme import ASSETS

MAX_LAST = 6


def ways() -> str:
    """The ways in, and a card for each of the five papers."""
    first = "".join(
        (
            _experiment(ready.DEMO, "kd-way"),
            _way("/launch?open=own-data", "images", "My images", "A zip or folder with one folder per class is all."),
            _way(
                "/launch?open=own-teacher",
                "teacher",
                "I have a teacher",
                "Published weights of timm or torchvision, or your own safetensors file.",
            ),
            _way(
                "/race",
                "best",
                "Find the best method",
                "Give it hours: methods race, the best are tuned and confirmed; or <b>compare</b> a few on Compare.",
            ),
        )
    )
    papers = "".join(_experiment(each, "kd-way small", each.paper) for each in ready.PAPERS)
    return (
        f'<div class="kd-ways">{first}</div>'
        '<h2 class="kd-h2">The five papers, each run small on handwritten digits</h2>'
        f'<div class="kd-ways five">{papers}</div>'
    )


def _experiment(each: ready.Ready, classes: str, paper: str = "") -> str:
    minutes = f'<span class="kd-minutes" data-minutes-of="{text.escape(each.name)}">estimating…</span>'
    return _way(
        f"/launch?ready={each.name}", each.name, each.title, text.escape(each.sentence), classes, minutes, paper
    )


def _way(
    address: str, figure: str, title: str, sentence: str, classes: str = "kd-way", foot: str = "", paper: str = ""
) -> str:
    drawn = (ASSETS / "figures" / f"{figure}.svg").read_text()
    hint = f' title="{text.escape(paper)}"' if paper else ""
    return (
        f'<a class="{classes}" href="{text.escape(address)}"{hint}>{drawn}<b>{text.escape(title)}</b>'
        f"<span>{sentence}</span>{foot}</a>"
    )


def minutes(seconds: Mapping[str, float | None]) -> str:
    """What each experiment takes, for the script that puts it on the cards; None where it could not be estimated."""
    words = {
        name: "" if took is None else f"about {text.duration(took)} on this machine" for name, took in seconds.items()
    }
    spans = "".join(f'<i data-of="{text.escape(name)}">{text.escape(said)}</i>' for name, said in words.items())
    return f"<span hidden>{spans}</span>"


def last_used(rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """The last runs, each with a link; "" where there are none.

    Args:
        rows: all runs, the newest first.
        names: what each is called.
    """
    if not rows:
        return ""
    lines = "".join(_line(row, names[row.id]) for row in rows[:MAX_LAST])
    return (
        '<h2 class="kd-h2">Last used</h2><div class="kd-tablebox"><table class="kd-table"><thead><tr><th>Run</th>'
        '<th>Data</th><th>Method</th><th>State</th><th class="r">Test</th><th class="r">Again</th></tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _line(row: Row, name: str) -> str:
    e = text.escape
    again = "" if row.steers else f'<a href="/launch?clone={e(row.id)}">Launch</a>'
    address = row.steers or f"/runs?run={e(row.id)}"
    return (
        f'<tr><td><a href="{address}">{e(name)}</a></td><td>{e(row.dataset)}</td>'
        f'<td>{e(row.method)}</td><td><span class="dot {row.state}"></span>{row.state}</td>'
        f'<td class="r">{text.percent(row.test)}</td><td class="r">{again}</td></tr>'
    )

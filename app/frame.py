"""What is at the top of every page: name and mark, the pages, what the machine does, theme, help, the way out."""

from __future__ import annotations

from typing import NamedTuple

import gradio as gr

from app.text import escape
from app.theme import ASSETS

MARK = (ASSETS / "mark.svg").read_text()


LANGUAGES = {"en": ("English", "EN"), "zh-CN": ("中文", "中")}
"""Of each language: its name and a short sign."""


class Page(NamedTuple):
    """One page.

    Attributes:
        path: its address without the first slash.
        name: in the bar and in the title of the tab.
        question: what it answers.
        help: what can be done there, a sentence each.
    """

    path: str
    name: str
    question: str
    help: tuple[str, ...]


PAGES = (
    Page(
        "",
        "Begin",
        "Where do I start?",
        (
            "Each card opens Launch, Compare or Studies with everything filled in; nothing trains before you say so.",
            "The minutes are forecast for this machine from a few measured steps.",
        ),
    ),
    Page(
        "launch",
        "Launch",
        "What shall I distil, will it work, what will it cost?",
        (
            "Pick data, teacher, student and method; everything else has a default.",
            "Cost and problems are computed while you choose; a problem is shown at its field.",
            "In the shell: kd train. The command for what you see stands beside the button.",
        ),
    ),
    Page(
        "runs",
        "Runs",
        "What is happening, and what came of it?",
        (
            "Runs go on when this page is closed. Choose one to see its curves, its log and what it can do next.",
            "Stopped and failed runs resume exactly where they were. In the shell: kd jobs, kd resume RUN.",
        ),
    ),
    Page(
        "compare",
        "Compare",
        "Does it help, by how much, can I believe it?",
        (
            "The same teacher, student and data for every method, with several seeds.",
            "Differences are paired by seed, with 95 % intervals; p-values are adjusted (Holm).",
            "In the shell: kd compare.",
        ),
    ),
    Page(
        "race",
        "Race",
        "Which method is best for my data, within some hours?",
        (
            "All methods run briefly, half of them stay each time; four are tuned, three confirmed on fresh seeds.",
            "A winner is named only where its gain over the student alone is shown.",
            "In the shell: kd race.",
        ),
    ),
    Page(
        "studies",
        "Studies",
        "Which temperatures and weights are best, is the gain real?",
        (
            "A study tries hyper-parameters with Optuna on validation images and confirms the best with fresh seeds.",
            "In the shell: kd study.",
        ),
    ),
    Page(
        "inspect",
        "Inspect",
        "What did the teacher see, what did the student learn to see?",
        (
            "Attention masks, CIP maps, inter-sample graphs and predictions of a trained run, over its epochs.",
            "Every drawing can be saved as SVG, PNG, HTML or numbers. In the shell: kd inspect RUN.",
        ),
    ),
    Page(
        "demo",
        "Demo",
        "How does it do on my image?",
        (
            "Upload an image or take one from the test set; teacher and student predict side by side.",
            "In the shell: kd predict RUN IMAGE.",
        ),
    ),
)


def titles() -> dict[str, str]:
    """Address -> title of the tab."""
    return {f"/{page.path}": f"{page.name} · kd" for page in PAGES}


def draw(path: str) -> None:
    """Draws it into the current Gradio context.

    Args:
        path: of the page it stands on.
    """
    gr.HTML(header(path), elem_id="kd-frame", apply_default_css=False, padding=False)


def header(path: str) -> str:
    """The HTML of it; `assets/frame.js` keeps the machine's state and the theme."""
    current = next(page for page in PAGES if page.path == path)
    links = "".join(_link(page, page is current) for page in PAGES)
    return (
        f'<header class="kd-bar-top" data-page="{escape(current.name)}">'
        f'<a class="kd-brand" href="/" aria-label="kd, knowledge distillation: begin">{MARK}<b>kd</b></a>'
        f'<nav aria-label="Pages">{links}</nav>'
        '<a class="kd-machine" href="/runs" title="What runs and waits, and how busy this machine is"></a>'
        f"{_languages()}"
        '<button type="button" class="kd-icon" data-kd-theme aria-label="Theme"></button>'
        '<button type="button" class="kd-icon" popovertarget="kd-help" aria-label="Help">?</button>'
        '<form method="post" action="/logout" id="log-out"><button class="kd-quiet">Log out</button></form>'
        f"</header>{_help(current)}"
    )


def _link(page: Page, is_current: bool) -> str:
    here = ' aria-current="page"' if is_current else ""
    return f'<a href="/{page.path}"{here}>{page.name}</a>'


def _languages() -> str:
    """A button for each language, in its own words; `server.first_paint` hides that of the language which is shown."""
    buttons = [
        f'<button type="button" class="kd-icon" data-kd-language="{code}" lang="{code}" translate="no"'
        f' aria-label="{name}">{sign}</button>'
        for code, (name, sign) in LANGUAGES.items()
    ]
    return "".join(buttons)


def _help(page: Page) -> str:
    lines = "".join(f"<li>{escape(line)}</li>" for line in page.help)
    return (
        f'<div id="kd-help" popover><h2>{escape(page.name)}: {escape(page.question)}</h2><ul>{lines}</ul>'
        "<p>Command line: <code>kd --help</code>. What is installed and found on this machine: <code>kd doctor</code>."
        "</p></div>"
    )

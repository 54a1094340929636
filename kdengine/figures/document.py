"""Drawings as one HTML file that needs nothing else: it opens without a network, in light and dark."""

from __future__ import annotations

from html import escape

from kdengine.figures.seen import Drawing

HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1180px; padding: 0 1rem }}
h1 {{ font-size: 1.4rem; margin: 0 }} h2 {{ font-size: 1.05rem; margin: 1.6rem 0 .2rem }}
p {{ margin: .2rem 0; opacity: .8 }}
.kd-fade {{ display: flex; gap: .6rem; align-items: center; margin: .8rem 0 }} svg {{ max-width: 100%; height: auto }}
</style></head><body><h1>{title}</h1><p>{sentence}</p>
"""

FADE = """<label class="kd-fade">image <input type="range" min="0" max="1" step="0.05" value="1"
oninput="document.querySelectorAll('.kd-map').forEach((map) => map.style.opacity = this.value)"> map</label>
"""


def document(title: str, sentence: str, drawings: list[Drawing]) -> str:
    """The drawings beneath each other, with what is said of them.

    Args:
        title: heading and name of the page.
        sentence: what one sees.
        drawings: SVG documents and Plotly figures.
    """
    parts = [HEAD.format(title=escape(title), sentence=escape(sentence))]
    if any("kd-map" in drawing.svg for drawing in drawings):
        parts.append(FADE)
    script: bool = True
    for drawing in drawings:
        parts.append(f"<h2>{escape(drawing.title)}</h2><p>{escape(drawing.note)}</p>")
        if drawing.figure is None:
            parts.append(drawing.svg)
        else:
            parts.append(drawing.figure.to_html(full_html=False, include_plotlyjs=script))
            script = False
    return "".join([*parts, "</body></html>\n"])

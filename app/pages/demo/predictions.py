"""The predictions of networks as HTML: a card for each network."""

from __future__ import annotations

from typing import Any

from app import boxes, text
from kdengine.figures import map_grid
from kdengine.workspace.rundir import short_id


def empty(has_run: bool = True) -> str:
    """Stands where the predictions will be."""
    if not has_run:
        return boxes.NO_NETWORK
    invitation = "Choose an example, drop an image, paste one,<br>or take one with the camera."
    return f'<div class="kd-empty">{invitation}</div>'


def cards(found: list[dict[str, Any]], label: str) -> str:
    """A card for each network; ``label`` is the true class, "" where nobody knows it."""
    truth = f'<p class="kd-lead">From the test set; its class is <b>{text.escape(label)}</b>.</p>' if label else ""
    each = "".join(_card(prediction, label) for prediction in found)
    return f'{truth}<div class="kd-predictions">{each}</div>'


def _card(prediction: dict[str, Any], label: str) -> str:
    e = text.escape
    bars = "".join(
        f'<div class="row"><span title="{e(name)}">{e(name)}</span>'
        f'<span class="track"><i style="width:{100 * value:.1f}%"></i></span>'
        f'<span class="p">{text.percent(value)}</span></div>'
        for name, value in prediction["top"]
    )
    verdict = ""
    if label:
        correct = prediction["top"][0][0] == label
        mark, word, state = ("✓", "right", "kd-right") if correct else ("✗", "wrong", "kd-wrong")
        verdict = f' <span class="{state}">{mark} {word}</span>'
    size, parameters = text.size(prediction["bytes"]), text.count(prediction["parameters"])
    role = prediction["role"]
    return (
        f'<div class="card kd-prediction {role}" data-role="{role}"><span class="kd-head">{role.capitalize()}</span>'
        f"<h2>{e(prediction['model'])} <small>{e(_called(prediction['run']))}</small>{verdict}</h2>"
        f'<p class="kd-facts">{_latency(prediction)} · {size} · {parameters} parameters</p>{bars}'
        f"{_map_of(prediction)}</div>"
    )


def _latency(prediction: dict[str, Any]) -> str:
    """Median, quartiles and number of the passes."""
    latency = prediction["latency"]
    passes = latency["passes"]
    tip = (
        f"Median of {passes} forward passes of one image on the {prediction['device'].upper()}, warmed up before; "
        "half of them lie within the range."
    )
    digits = 2 if latency["median"] < 10 else 1
    median, low, high = (f"{latency[key]:.{digits}f}" for key in ("median", "low", "high"))
    return f'<span title="{text.escape(tip)}">{median} ms ({low} to {high}, median of {passes} passes)</span>'


def _called(run: str) -> str:
    """A run as the list of students calls it; an imported teacher by its name."""
    return run if ":" in run else f"[{short_id(run)}]"


def _map_of(prediction: dict[str, Any]) -> str:
    if "pixels" not in prediction:
        return ""
    if prediction["map"] is None:
        return '<p class="kd-facts">This network has no feature maps, so no Grad-CAM.</p>'
    said = f"Grad-CAM of {prediction['model']} for {prediction['top'][0][0]}"
    overlay = map_grid.overlay(prediction["pixels"], prediction["map"], label=said)
    legend = "Brighter regions count more for the predicted class (Grad-CAM)."
    return f'<div class="kd-look">{overlay}</div><p class="kd-facts">{legend}</p>'

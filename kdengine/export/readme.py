"""The model card of an export, in words: what it is, how it was made, its numbers, and how to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdengine import health
from kdengine.data.sources.image_files import DROPPED
from kdengine.evaluation.cost import Cost
from kdengine.export.onnx_files import INPUT, OUTPUT
from kdengine.export.pieces import EXITS, MODEL
from kdengine.export.request import Exported, Measured
from kdengine.models.stored import ModelCard
from kdengine.registry import METHODS
from kdengine.spec import ExperimentSpec


def text(exported: Exported, card: ModelCard, spec: ExperimentSpec, status: Mapping[str, Any], cost: Cost) -> str:
    """The card as Markdown, with the front matter that model hubs read.

    Args:
        exported: the files and what was measured of them.
        card, spec, status: of the run.
        cost: of the deployed network.
    """
    parts = [
        _front(exported, spec),
        f"# {card.model}, {len(card.classes)} classes of {spec.data.name}\n",
        _origin(card, spec, status),
        _numbers(exported, status, cost),
        _doubts(status),
        _files(exported),
        _use(exported, card),
        _classes(card),
    ]
    return "\n".join(part for part in parts if part)


def _front(exported: Exported, spec: ExperimentSpec) -> str:
    library = exported.loading.library if exported.loading else "onnx"
    tags = "".join(f"\n  - {tag}" for tag in ("image-classification", "knowledge-distillation", spec.method.name))
    return f"---\npipeline_tag: image-classification\nlibrary_name: {library}\ntags:{tags}\n---\n"


def _origin(card: ModelCard, spec: ExperimentSpec, status: Mapping[str, Any]) -> str:
    method = METHODS.get(spec.method.name)
    data = status.get("data", {})
    images = ", ".join(f"{data[part]:,} {words}" for part, words in _PARTS if part in data)
    recipe = f"{spec.recipe.epochs} epochs, batch {spec.recipe.batch_size}, learning rate {spec.recipe.lr:g}"
    rows = [
        ("student", card.model + (" with parts of the method (see model_card.json)" if card.added else "")),
        ("method", f"`{spec.method.name}`: {method.title}. {method.description}"),
        ("teacher", _teacher(spec)),
        ("data", f"{spec.data.name}: {images}; digest {data.get('digest', '')[:12]}"),
        ("recipe", f"{spec.recipe.name}: {recipe}, seed {spec.seed}"),
        ("weights", f"{'moving average' if card.weights == 'ema' else 'as trained'}, run `{card.run}`"),
    ]
    return "## How it was made\n\n" + _table(("", ""), rows) + "\n`spec.yaml` is the whole experiment.\n"


def _doubts(status: Mapping[str, Any]) -> str:
    """What makes the numbers hard to believe; "" where nothing was found."""
    found = "".join(f"- {each.what} {each.remedy}\n" for each in health.kept(status))
    return f"## Before you rely on these numbers\n\n{found}" if found else ""


_PARTS = (("train", "images to train on"), ("validation", "for validation"), ("test", "to test"))


def _teacher(spec: ExperimentSpec) -> str:
    teacher = spec.teacher
    if teacher is None:
        return "none"
    if teacher.spec is not None:
        return f"{teacher.spec.student.name}, trained first"
    return f"imported, {teacher.imported}" if teacher.imported is not None else f"run `{teacher.run}`"


def _numbers(exported: Exported, status: Mapping[str, Any], cost: Cost) -> str:
    which = "last" if exported.request.last else "best"
    test = status.get("test", {}).get(which, {})
    words = "weights of the last epoch" if exported.request.last else "weights best by validation"
    lines = [
        f"* accuracy on test {_percent(test['accuracy'])}, top-5 {_percent(test['top5'])}, cross-entropy "
        f"{test['loss']:.3f}, calibration error {_percent(test['ece'])} ({words})"
    ] if test else []  # fmt: skip
    lines.append(f"* {cost.parameters:,} parameters, {cost.macs / 1e6:.1f} M multiply-accumulates for one image")
    return "## Numbers\n\n" + "\n".join(lines) + "\n"


def _files(exported: Exported) -> str:
    columns = ("file", "what", "size", "accuracy", "same class as PyTorch", "largest difference of a logit", "ms")
    rows = [_row(network) for network in exported.networks]
    note = (
        f"Accuracy and parity on {exported.images:,} test images of {exported.data}; milliseconds: median of one "
        f"image alone, one thread of {exported.hardware}, PyTorch and the files in turns.\n"
    )
    if exported.request.exits and exported.request.format == "safetensors":
        note += f"\n`{EXITS}` holds the heads of the early exits; nothing of them is in the other file.\n"
    return "## Files\n\n" + _table(columns, rows) + "\n" + note


def _row(network: Measured) -> tuple[str, ...]:
    return (
        f"`{network.file}`" if network.file else "",
        network.holds,
        f"{network.bytes / 1024:,.0f} KiB",
        _percent(network.accuracy),
        _percent(network.agreement),
        f"{network.difference:.1e}",
        f"{network.milliseconds:.2f}",
    )


def _lay(ground: str) -> list[str]:
    """Lines that bring an image to RGB, its transparent parts as in training."""
    if ground == DROPPED:
        return ['image = image.convert("RGB")']
    return [
        f'ground = Image.new("RGBA", image.size, "{ground}")  # under transparent parts',
        'image = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")',
    ]


def _use(exported: Exported, card: ModelCard) -> str:
    size, mean, std = card.image_size, _triple(card.mean), _triple(card.std)
    lines = [
        "import numpy as np",
        "from PIL import Image, ImageOps",
        "",
        'image = ImageOps.exif_transpose(Image.open("image.png"))',
        *_lay(card.ground),
        f"image = ImageOps.fit(image, ({size}, {size}), Image.Resampling.BILINEAR)",
        f"pixels = (np.asarray(image, np.float32) / 255 - np.float32({mean})) / np.float32({std})",
        "images = pixels.transpose(2, 0, 1)[None]  # (1, 3, height, width)",
        "",
    ]
    if exported.loading is not None:
        outputs = "model(torch.from_numpy(images.copy()))"
        outputs += ".logits" if exported.loading.library == "kdengine" else ""
        lines = ["import torch", *exported.loading.lines, "", *lines, f"logits = {outputs}[0].detach().numpy()"]
    else:
        lines = ["import onnxruntime", *lines, f'session = onnxruntime.InferenceSession("{MODEL}")']
        lines.append(f'logits = session.run(["{OUTPUT}"], {{"{INPUT}": np.ascontiguousarray(images)}})[0][0]')
    lines.append("print(logits.argmax())  # row of the list of classes below")
    return "## How to use it\n\n```python\n" + "\n".join(lines) + "\n```\n"


def _classes(card: ModelCard) -> str:
    accuracies = card.metrics.get("per_class") or [None] * len(card.classes)
    rows = [
        (str(number), name, "" if accuracy is None else _percent(accuracy))
        for number, (name, accuracy) in enumerate(zip(card.classes, accuracies, strict=True))
    ]
    return "## Classes\n\n" + _table(("logit", "class", "accuracy on test, weights best by validation"), rows)


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in (columns, ("---",) * len(columns), *escaped))


def _triple(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"

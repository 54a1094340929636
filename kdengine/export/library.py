"""The lines of Python that load a student's weights: in torchvision or timm alone where the body is theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdengine.errors import KdError
from kdengine.evaluation.cost import blank_images
from kdengine.export.request import Loading
from kdengine.models.backbone import Backbone
from kdengine.models.stored import ModelCard
from kdengine.models.timm_models import wants_size

# Catalog names whose body is torchvision's, and its name there.
TORCHVISION = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenetv3_small": "mobilenet_v3_small",
    "mobilenetv3_large": "mobilenet_v3_large",
    "mobilenet_v2": "mobilenet_v2",
    "shufflenet_v2": "shufflenet_v2_x1_0",
}
# More than this is no longer that library's net.
MAX_CHANGES = 12
READ = 'model.load_state_dict(load_file("model.safetensors"))'


class _Foreign(Exception):
    """The body is not the library's."""


def loading(student: Backbone, card: ModelCard, weights: Path) -> Loading:
    """How to load the weights, without this project where that gives the same network.

    The lines for another library are run here, on the file, and its network is shown the same images as ours; they
    are handed out only when both compute the same logits.

    Args:
        student: the network, in eval mode on the CPU.
        card: its card.
        weights: the safetensors file.
    """
    try:
        library, first = _plain(card)
        lines = _lines(student, first, library)
        if _same_logits(student, lines, weights):
            return Loading(library, lines)
    except (_Foreign, KdError, RuntimeError, AttributeError, TypeError, NameError):
        pass
    return Loading(
        "kdengine", ("from pathlib import Path", "from kdengine.export import load", 'model, card = load(Path("."))')
    )


def _plain(card: ModelCard) -> tuple[str, str]:
    """The library, and the line that builds its network of that name."""
    if card.added is not None:
        raise _Foreign
    library, _, name = card.model.rpartition("/")
    if not library:
        library, name = "torchvision", TORCHVISION.get(card.model, "")
    if not name:
        raise _Foreign
    arguments = f"num_classes={len(card.classes)}"
    if library == "timm":
        arguments += f", img_size={card.image_size}" if wants_size(name) else ""
        return library, f'model = timm.create_model("{name}", {arguments})'
    if name.startswith("vit_"):
        arguments += f", image_size={card.image_size}"
    if name in ("googlenet", "inception_v3"):
        arguments += ", aux_logits=False, init_weights=False"
    return library, f'model = torchvision.models.get_model("{name}", {arguments})'


def _lines(student: Backbone, first: str, library: str) -> tuple[str, ...]:
    """All lines: imports, the library's network, what is different in ours, the weights."""
    model = _run((f"import {library}", first))["model"]
    changes = list(_norm_changes(student.body, model))
    if changes:
        exec("\n".join(changes), {"model": model, "nn": nn})
    changes += _module_changes(student.body, model)
    if len(changes) > MAX_CHANGES:
        raise _Foreign
    imports = [f"import {library}", "from safetensors.torch import load_file"]
    if any("nn." in line for line in changes):
        imports.append("from torch import nn")
    return (*imports, first, *changes, READ, "model.eval()")


def _norm_changes(body: nn.Module, model: nn.Module) -> Iterator[str]:
    """One loop for all batch normalisations, when ours all have the same numbers and some of theirs have others."""
    own = {(m.eps, m.momentum) for m in body.modules() if isinstance(m, nn.BatchNorm2d)}
    theirs = {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    if len(own) == 1 and own != theirs:
        eps, momentum = own.pop()
        yield "for module in model.modules():"
        yield "    if isinstance(module, nn.BatchNorm2d):"
        yield f"        module.eps, module.momentum = {eps}, {momentum}"


def _module_changes(body: nn.Module, model: nn.Module) -> list[str]:
    """A line for each layer that is another one in ours: a 3x3 stem, a stride of 1, a pool left out."""
    changes = []
    for path, module in body.named_modules():
        if next(module.children(), None) is not None:
            continue
        wanted = _constructor(module)
        if wanted != _constructor(model.get_submodule(path)):
            if not type(module).__module__.startswith("torch.nn."):
                raise _Foreign
            changes.append(f'model.set_submodule("{path}", nn.{wanted})')
    return changes


def _constructor(module: nn.Module) -> str:
    """A layer as PyTorch prints it, which is how it is made; working in place changes no output."""
    return re.sub(r",? ?inplace=(True|False)", "", repr(module))


def _same_logits(student: Backbone, lines: tuple[str, ...], weights: Path) -> bool:
    image = torch.rand(blank_images(student, 2).shape, generator=torch.Generator().manual_seed(0))
    here = tuple(line.replace('"model.safetensors"', repr(str(weights))) for line in lines)
    model = _run(here)["model"]
    with torch.no_grad():
        return torch.allclose(model(image), student(image).logits, rtol=1e-4, atol=1e-5)


def _run(lines: tuple[str, ...]) -> dict[str, Any]:
    """What the lines leave behind. They are our own: names of the catalog, and layers as PyTorch prints them."""
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    return names

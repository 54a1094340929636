"""Published weights by name, from torchvision or timm, where the network allows.

Files of torchvision are pickles: they are fetched from its own address only, compared with the hash in their name, and
read with ``weights_only=True``, which builds tensors and nothing else. timm fetches safetensors where it has them, and
reads the others in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from kdengine.errors import BadInput, KdError, Problem
from kdengine.teachers.records import Rgb
from kdengine.teachers.weights import IMAGENET

HALF: tuple[Rgb, Rgb] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Published with a normalisation inside the net that turns ImageNet's into this one; the body built here has none.
WITHIN = ("googlenet", "inception_v3")


class Published(NamedTuple):
    """Weights as published: catalog name, tensors, class names (None: not given), normalisation, side in pixels."""

    model: str
    state: Mapping[str, Tensor]
    classes: tuple[str, ...] | None
    mean: Rgb
    std: Rgb
    image_size: int
    source: str


def fetch(name: str, cache: Path) -> Published:
    """Downloads published weights.

    Args:
        name: ``torchvision/resnet34``, with ``.IMAGENET1K_V2`` behind it for other weights than the default;
            ``timm/resnet18`` or ``timm/resnet18.a1_in1k``.
        cache: folder for what is downloaded; what is there already is not fetched again.

    Raises:
        BadInput: no such model, or none published for it. KdError: the network does not give it.
    """
    library, _, rest = name.partition("/")
    if library == "torchvision" and rest:
        return _from_torchvision(rest, cache)
    if library == "timm" and rest:
        return _from_timm(rest, cache)
    message = f"found {name!r}, expected torchvision/<name> or timm/<name>: the nets of the catalog are not published"
    raise BadInput(Problem("published", message))


def _from_torchvision(name: str, cache: Path) -> Published:
    import torch
    import torchvision

    model, _, variant = name.partition(".")
    try:
        known = torchvision.models.get_model_weights(model)
        chosen = known[variant or "DEFAULT"]
    except (ValueError, KeyError) as error:
        there = f"; there are: {', '.join(known.__members__)}" if isinstance(error, KeyError) else ""
        raise BadInput(Problem("published", f"torchvision publishes no weights {name!r}{there}")) from error
    try:
        state: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            chosen.url, str(cache), map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise KdError(_no_network(name, chosen.url, error)) from error
    preset = chosen.transforms()
    mean, std = HALF if model in WITHIN else (tuple(preset.mean), tuple(preset.std))
    classes = tuple(chosen.meta["categories"])
    return Published(
        f"torchvision/{model}", state, classes, mean, std, int(preset.crop_size[0]), f"published, {chosen.url}"
    )


def _from_timm(name: str, cache: Path) -> Published:
    import timm

    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        raise BadInput(Problem("published", f"timm publishes no weights {name!r}; timm.list_pretrained() has them all"))
    config: Any = timm.models.get_pretrained_cfg(name)
    where = config.hf_hub_id or config.url
    try:
        body = timm.create_model(name, pretrained=True, cache_dir=str(cache))
    except Exception as error:  # the hub's client raises errors of its own, of its transport and of the system
        raise KdError(_no_network(name, where, error)) from error
    return Published(
        f"timm/{name}",
        body.state_dict(),
        None,
        tuple(config.mean) or IMAGENET[0],
        tuple(config.std) or IMAGENET[1],
        int(config.input_size[-1]),
        f"published, {where}",
    )


def _no_network(name: str, where: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300]
    return (
        f"{name} could not be fetched from {where} ({type(error).__name__}: {reason}). Where the network is closed, "
        "fetch it on another machine, save it as safetensors, and give it with --weights FILE --model NAME"
    )

"""``torchvision/<name>``: any classifier of torchvision behind the `Backbone` contract, in its published form."""

from __future__ import annotations

import difflib
import inspect
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from kdengine.errors import BadInput, Problem
from kdengine.models.backbone import Backbone, ModelDefinition, Outputs
from kdengine.models.mobilenetv3 import BatchNormParams
from kdengine.registry import MODELS, UnknownName


class TorchvisionBackbone(Backbone):
    """Stages: the last square map of each resolution among the body's outer blocks, found by one blank image.

    The embedding is read at the entrance of the last linear layer.
    """

    def __init__(self, body: nn.Module, name: str, image_size: int) -> None:
        super().__init__(body, name, image_size)
        linear = [path for path, module in body.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise BadInput(Problem("student.name", f"{name} does not end in a linear layer; choose another body"))
        self._linear = linear[-1]
        self._seen: dict[str, Tensor] = {}
        self._stage_paths = self._find_stages()
        self.classifier.register_forward_pre_hook(self._keep_embedding)
        for path in self._stage_paths:
            body.get_submodule(path).register_forward_hook(partial(self._keep_map, path))

    @property
    @override
    def classifier(self) -> nn.Linear:
        return self.body.get_submodule(self._linear)  # type: ignore[return-value]

    @override
    def forward(self, x: Tensor) -> Outputs:
        logits = self.body(x)
        seen, self._seen = self._seen, {}
        return Outputs(logits, seen["embedding"], tuple(seen[path] for path in self._stage_paths))

    def _keep_embedding(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._seen["embedding"] = inputs[0]

    def _keep_map(self, path: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self._seen[path] = output

    @torch.no_grad()
    def _find_stages(self) -> tuple[str, ...]:
        last_of: dict[int, str] = {}

        def look(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
            # A bare convolution is no stage: maps are taken after activation, and a transformer's patches are no map.
            if isinstance(module, nn.Conv2d):
                return
            is_map = isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1
            # Two levels down are blocks ("features.3", "layer1"); deeper ones are the convolutions inside them.
            if is_map and path and path.count(".") <= 1:
                last_of[output.shape[2]] = path

        hooks = [module.register_forward_hook(partial(look, path)) for path, module in self.body.named_modules()]
        try:
            self.body.eval()(torch.zeros(1, 3, self.image_size, self.image_size))
        finally:
            for hook in hooks:
                hook.remove()
            self.body.train()
        return tuple(path for _, path in sorted(last_of.items(), reverse=True))


def _make(name: str, num_classes: int, image_size: int, params: BatchNormParams) -> Backbone:
    import torchvision

    accepted = inspect.signature(torchvision.models.get_model_builder(name)).parameters
    options: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if "kwargs" in accepted and name.startswith("vit_"):
        options["image_size"] = image_size
    try:
        body = torchvision.models.get_model(name, **options)
        params.apply_to(body, image_size)
        return TorchvisionBackbone(body, f"torchvision/{name}", image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        if isinstance(error, BadInput):
            raise
        message = f"torchvision/{name} cannot process {image_size} px images: {error}"
        raise BadInput(Problem("data.image_size", message)) from error


@MODELS.register_family("torchvision/")
def torchvision_model(name: str) -> ModelDefinition:
    """The catalog entry of a torchvision classifier; raises UnknownName with near matches."""
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise UnknownName(
            f"torchvision has no classifier {name!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    return ModelDefinition(
        f"torchvision/{name}", "a classifier of torchvision, as published", partial(_make, name), BatchNormParams
    )

"""Nets made from a plain one of the catalog by exchanging some of its modules."""

from __future__ import annotations

from torch import nn

from kdengine.models.backbone import Backbone, build_model


def plain_net(name: str, num_classes: int, image_size: int) -> Backbone:
    """The plain net from which ``name`` = ``<plain>_<variant>`` is made, already under that name.

    Its ReLUs do not work in place, so that gradients of gradients and hooks see every map as it was.
    """
    backbone = build_model(name.rpartition("_")[0], num_classes, image_size)
    backbone.name = name
    for module in backbone.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return backbone

"""Catalog of classifiers behind the `Backbone` contract. Importing it registers the built-in entries, in list order."""

# ruff: noqa: F401, I001  (the order is the point: plain nets, nets of the papers, families)
from kdengine.models import (
    cifar_resnet,
    wide_resnet,
    resnet,
    vgg,
    mobilenetv3,
    mobilenetv2,
    shufflenet,
    resnet_cip,
    light,
    timm_models,
    torchvision_models,
)
from kdengine.models.backbone import Backbone, ModelDefinition, Outputs, Shapes, build_model, list_models
from kdengine.models.without_compiler import leave_out

__all__ = ["Backbone", "ModelDefinition", "Outputs", "Shapes", "build_model", "list_models"]

leave_out()

"""Catalog of classifiers behind the `Backbone` contract. Importing it registers the built-in entries."""

from kdengine.models import (  # noqa: F401
    cifar_resnet,
    light,
    mobilenetv3,
    resnet,
    resnet_cip,
    timm_models,
    torchvision_models,
    vgg,
)
from kdengine.models.backbone import Backbone, ModelDefinition, Outputs, Shapes, build_model, list_models

__all__ = ["Backbone", "ModelDefinition", "Outputs", "Shapes", "build_model", "list_models"]

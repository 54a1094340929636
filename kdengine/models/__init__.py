"""Catalog of classifiers behind the `Backbone` contract. Importing it registers the built-in entries."""

from kdengine.models import cifar_resnet, mobilenetv3, resnet, timm_models, torchvision_models, vgg  # noqa: F401
from kdengine.models.backbone import Backbone, ModelDefinition, Outputs, Shapes, build_model, list_models

__all__ = ["Backbone", "ModelDefinition", "Outputs", "Shapes", "build_model", "list_models"]

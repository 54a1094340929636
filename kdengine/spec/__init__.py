"""The typed experiment: what a run is, completely, and how it is read and written."""

from kdengine.spec.components import DataSpec, MethodSpec, ModelSpec
from kdengine.spec.experiment import ExperimentSpec, TeacherSpec, with_settings
from kdengine.spec.recipe import RecipeSpec
from kdengine.spec.runtime import RuntimeSpec
from kdengine.spec.text import flatten, merge, nested, unflatten, with_absolute_paths

__all__ = [
    "DataSpec",
    "ExperimentSpec",
    "MethodSpec",
    "ModelSpec",
    "RecipeSpec",
    "RuntimeSpec",
    "TeacherSpec",
    "flatten",
    "merge",
    "nested",
    "unflatten",
    "with_absolute_paths",
    "with_settings",
]

"""The parts of a spec that have a name in a registry: data set, networks and method, each with its own parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    SerializeAsAny,
    model_serializer,
    model_validator,
)

from kdengine.registry import DATASETS, METHODS, MODELS, Registry, UnknownName
from kdengine.spec.fields import Settings, setting
from kdengine.spec.problems import field_error, field_errors, near


class Component(Settings):
    """A named entry of a registry with its own parameters; written flat, ``{name: dkd, temperature: 4}``."""

    registry: ClassVar[Registry[Any]]

    name: str
    params: SerializeAsAny[BaseModel]

    @model_validator(mode="before")
    @classmethod
    def _validate_own_parameters(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or isinstance(value.get("params"), BaseModel):
            return value
        value = {"name": cls.model_fields["name"].default, **value}
        try:
            entry = cls.registry.get(value["name"])
        except UnknownName as error:
            raise field_error(cls.__name__, "name", str(error), value.get("name")) from error
        shared = {key: value[key] for key in value if key in cls.model_fields and key != "params"}
        own = {key: value[key] for key in value if key not in cls.model_fields}
        unknown = [key for key in own if key not in entry.Params.model_fields]
        if unknown:
            known = [*entry.Params.model_fields, *(key for key in cls.model_fields if key != "params")]
            messages = {
                key: f"{cls.registry.kind} {value['name']!r} has no such setting; {near(key, known)}" for key in unknown
            }
            raise field_errors(cls.__name__, messages, own)
        return cls.complete(shared, entry) | {"params": entry.Params.model_validate(own)}

    @classmethod
    def complete(cls, shared: dict[str, Any], entry: Any) -> dict[str, Any]:
        """Fills what depends on the entry chosen; here nothing."""
        return shared

    @model_serializer(mode="plain")
    def _write_flat(self) -> dict[str, Any]:
        shared = {key: getattr(self, key) for key in type(self).model_fields if key not in ("params", "name")}
        return {"name": self.name, **shared, **self.params.model_dump()}


class DataSpec(Component):
    """Which images, at what size, split and augmented how."""

    registry = DATASETS

    name: str = setting("digits", title="Data set", description="Images to train and test on.")
    image_size: int = setting(
        ...,
        title="Image size",
        unit="px",
        ge=8,
        le=512,
        description="Side of the square that the images are resized to.",
    )
    validation: float = setting(
        0.1,
        title="Validation share",
        ge=0.02,
        le=0.5,
        advanced=True,
        source="our choice",
        description="Share of the training images held out, stratified; checkpoints and tuning look at it only.",
    )
    split_seed: int = setting(
        0,
        title="Split seed",
        ge=0,
        advanced=True,
        description="Decides the validation split; seeds of a comparison do not.",
    )
    per_class: int | None = setting(
        None,
        title="Images per class",
        ge=1,
        advanced=True,
        description="Train on only so many images of each class.",
    )
    fraction: float = setting(
        1.0,
        title="Fraction",
        gt=0,
        le=1,
        advanced=True,
        description="Train on only this share of the training images.",
    )
    augmentation: Literal["none", "crop", "crop_flip"] = setting(
        ...,
        title="Augmentation",
        advanced=True,
        description="Random shift by up to an eighth of the side, and mirroring where that keeps the meaning.",
    )
    resized_crop: float = setting(
        0.0,
        title="Resized crop",
        neutral=0.0,
        ge=0,
        le=1,
        advanced=True,
        source="Szegedy et al., 2015, from 0.08; off by default",
        description="Smallest share of the area of a random window that is resized to the whole image, in the "
        "place of the random shift; 0 switches it off.",
    )
    rotation: float = setting(
        0.0,
        title="Rotation",
        neutral=0.0,
        unit="degrees",
        ge=0,
        le=180,
        advanced=True,
        source="our choice: off",
        description="Images are turned by a random angle up to this many degrees either way; 0 switches it off.",
    )
    cutout: int = setting(
        0,
        title="Cutout",
        neutral=0,
        unit="px",
        ge=0,
        le=511,
        advanced=True,
        source="DeVries & Taylor, 2017, 16 of 32 px; off by default",
        description="Side of a square at a random place that is blanked to the mean colour; 0 switches it off.",
    )

    @model_validator(mode="after")
    def _check_cutout(self) -> Self:
        if self.cutout >= self.image_size:
            message = f"a square of {self.cutout} px would blank a whole image of {self.image_size} px; give less"
            raise field_error("DataSpec", "cutout", message, self.cutout)
        return self

    @classmethod
    def complete(cls, shared: dict[str, Any], entry: Any) -> dict[str, Any]:
        """Image size and augmentation default to what suits the data set; written out in the spec."""
        defaults = {
            "image_size": entry.default_image_size,
            "augmentation": "crop_flip" if entry.flip else "crop",
        }
        return defaults | {key: value for key, value in shared.items() if value is not None or key not in defaults}


class ModelSpec(Component):
    """A classifier of the catalog, or ``timm/<name>``, ``torchvision/<name>``, with its options."""

    registry = MODELS

    name: str = setting("mobilenetv3_small", title="Student", description="The network that is trained and deployed.")


class MethodSpec(Component):
    """How the student is trained, with the method's own parameters."""

    registry = METHODS

    name: str = setting("kd", title="Method", description="How the student learns.")

"""How a run trains: a named recipe of the field, any of its numbers changed at will."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import (
    model_validator,
)
from pydantic_core import PydanticCustomError

from kdengine.spec.fields import Settings, setting
from kdengine.spec.named_recipes import RECIPES
from kdengine.spec.problems import field_error, near


class RecipeSpec(Settings):
    """How long and how fast is trained: a named recipe of the field, any of its numbers changed at will."""

    name: str = setting("quick", title="Recipe", description="A named recipe fills the numbers below.")
    epochs: int = setting(..., title="Epochs", ge=1, le=2000, description="Passes over the training images.")
    batch_size: int = setting(..., title="Batch", ge=2, le=8192, description="Images in one step of the optimiser.")
    optimizer: Literal["sgd", "adamw"] = setting(..., title="Optimiser", advanced=True, description="SGD or AdamW.")
    lr: float = setting(
        ..., title="Learning rate", gt=0, le=10, tune=(0.005, 0.2), log=True, description="Highest learning rate."
    )
    momentum: float = setting(..., title="Momentum", ge=0, lt=1, advanced=True, description="Momentum of SGD.")
    nesterov: bool = setting(..., title="Nesterov", advanced=True, description="Nesterov's form of momentum.")
    weight_decay: float = setting(
        ..., title="Weight decay", ge=0, le=1, tune=(1e-5, 1e-2), log=True, advanced=True,
        description="Pull of all weights towards zero.",
    )  # fmt: skip
    schedule: Literal["step", "cosine", "constant"] = setting(
        ..., title="Schedule", advanced=True, description="How the learning rate falls."
    )
    milestones: tuple[int, ...] = setting(
        ..., title="Milestones", advanced=True, description="Epochs after which a step schedule multiplies by gamma."
    )
    gamma: float = setting(..., title="Gamma", gt=0, lt=1, advanced=True, description="Factor at a milestone.")
    warmup_epochs: float = setting(
        ..., title="Warm-up", ge=0, unit="epochs", advanced=True, description="Epochs in which the rate rises linearly."
    )
    label_smoothing: float = setting(
        ..., title="Label smoothing", ge=0, lt=1, tune=(0.0, 0.2), advanced=True,
        description="Share of the target spread over all classes, in the cross-entropy with the labels.",
    )  # fmt: skip
    ema: float = setting(
        ..., title="EMA decay", ge=0, lt=1, advanced=True,
        description="Moving average of the weights that is evaluated and kept; 0 switches it off.",
    )  # fmt: skip
    clip_norm: float = setting(
        ..., title="Gradient clip", ge=0, advanced=True, description="Largest gradient norm; 0 switches clipping off."
    )
    mixup: float = setting(
        0.0, title="Mixup", neutral=0.0, ge=0, le=10, tune=(0.1, 1.0), advanced=True,
        source="Zhang et al., 2018; off by default",
        description="Alpha of mixup: images and labels are blended in pairs; 0 switches it off.",
    )  # fmt: skip
    cutmix: float = setting(
        0.0, title="CutMix", neutral=0.0, ge=0, le=10, tune=(0.1, 1.0), advanced=True,
        source="Yun et al., 2019; off by default",
        description="Alpha of CutMix: a box of one image is pasted into another; with mixup, either by chance.",
    )  # fmt: skip
    accumulate: int = setting(
        1, title="Accumulate", neutral=1, unit="parts", ge=1, le=64, advanced=True,
        source="our choice: the batch at once",
        description="Compute the batch in so many equal parts, one after the other, for one step of the optimiser: it "
        "takes the memory of a part and teaches what the whole batch teaches, with methods that do not relate its "
        "images to each other. Batch norm alone sees a part at a time: its statistics are the part's.",
    )  # fmt: skip

    @property
    def part_size(self) -> int:
        """Images that are computed at once: the batch, or one of the equal parts it is computed in."""
        return self.batch_size // self.accumulate

    @model_validator(mode="before")
    @classmethod
    def _fill_from_named_recipe(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping):
            return value
        name = value.get("name", "quick")
        if not isinstance(name, str) or name not in RECIPES:
            message = f"there is no recipe {name!r}; {near(str(name), list(RECIPES))}"
            raise field_error("RecipeSpec", "name", message, name)
        return RECIPES[name].settings | dict(value) | {"name": name}

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.warmup_epochs > self.epochs:
            message = f"the warm-up ({self.warmup_epochs:g} epochs) is longer than the run ({self.epochs} epochs)"
            raise field_error("RecipeSpec", "warmup_epochs", message, self.warmup_epochs)
        if list(self.milestones) != sorted(set(self.milestones)) or any(epoch < 1 for epoch in self.milestones):
            raise PydanticCustomError("schedule", "milestones must rise, from 1 on", {})
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.batch_size % self.accumulate:
            below = self.part_size * self.accumulate
            fitting = " or ".join(str(size) for size in (below, below + self.accumulate) if size)
            message = f"a batch of {self.batch_size} images cannot be computed in {self.accumulate} equal parts"
            raise field_error(
                "RecipeSpec", "accumulate", f"{message}; set recipe.batch_size to {fitting}", self.accumulate
            )
        if self.part_size < 2:
            message = f"a batch of {self.batch_size} in {self.accumulate} parts leaves one image in each, of which "
            message += f"batch norm can take no statistics; set at most {self.batch_size // 2}"
            raise field_error("RecipeSpec", "accumulate", message, self.accumulate)
        return self

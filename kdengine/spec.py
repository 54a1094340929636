"""The typed experiment: one frozen object that describes a run completely, and from which every face is drawn.

The Launch form, the command line, the YAML file, the MLflow parameters, the preview of the command and the snapshot
stored with the run all come from `ExperimentSpec`. A data set's, model's or method's own parameters are validated by
asking the registry for their ``Params``; this module imports none of them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from kdengine.errors import BadInput, Problem
from kdengine.fields import Settings, setting
from kdengine.recipes import RECIPES
from kdengine.registry import DATASETS, METHODS, MODELS, Registry, UnknownName
from kdengine.yaml_text import read_yaml

SPEC_VERSION = 1
MAX_TITLE = 80
WRITTEN_OUT = {"image_size", "validation", "split_seed", "per_class", "fraction", "augmentation"}


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
            raise _field_error(cls.__name__, "name", str(error), value.get("name")) from error
        value = cls.as_it_was_meant(value, entry)
        shared = {key: value[key] for key in value if key in cls.model_fields and key != "params"}
        own = {key: value[key] for key in value if key not in cls.model_fields}
        unknown = [key for key in own if key not in entry.Params.model_fields]
        if unknown:
            known = [*entry.Params.model_fields, *(key for key in cls.model_fields if key != "params")]
            messages = {
                key: f"{cls.registry.kind} {value['name']!r} has no such setting; {_near(key, known)}"
                for key in unknown
            }
            raise _field_errors(cls.__name__, messages, own)
        return cls.complete(shared, entry) | {"params": entry.Params.model_validate(own)}

    @classmethod
    def as_it_was_meant(cls, value: Mapping[str, Any], entry: Any) -> Mapping[str, Any]:
        """Reads what an earlier version wrote; here it reads as it stands."""
        return value

    @classmethod
    def complete(cls, shared: dict[str, Any], entry: Any) -> dict[str, Any]:
        """Fills what depends on the entry chosen; here nothing."""
        return shared

    @model_serializer(mode="plain")
    def _write_flat(self) -> dict[str, Any]:
        shared = {key: getattr(self, key) for key in type(self).model_fields if key not in ("params", "name")}
        return {"name": self.name, **shared, **self.params.model_dump()}


class DataSpec(Component):
    """Which pictures, at what size, split and augmented how."""

    registry = DATASETS

    name: str = setting("digits", title="Data set", description="Pictures to train and test on.")
    image_size: int = setting(
        ...,
        title="Image size",
        unit="px",
        ge=8,
        le=512,
        description="Side of the square that the pictures are resized to.",
    )
    validation: float = setting(
        0.1,
        title="Validation share",
        ge=0.02,
        le=0.5,
        advanced=True,
        source="our choice",
        description="Share of the training pictures held out, stratified; checkpoints and tuning look at it only.",
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
        title="Pictures per class",
        ge=1,
        advanced=True,
        description="Train on only so many pictures of each class.",
    )
    fraction: float = setting(
        1.0,
        title="Fraction",
        gt=0,
        le=1,
        advanced=True,
        description="Train on only this share of the training pictures.",
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
        ge=0,
        le=1,
        advanced=True,
        source="Szegedy et al., 2015, from 0.08; off by default",
        description="Smallest share of the area of a random window that is resized to the whole picture, in the "
        "place of the random shift; 0 switches it off.",
    )
    rotation: float = setting(
        0.0,
        title="Rotation",
        unit="degrees",
        ge=0,
        le=180,
        advanced=True,
        source="our choice: off",
        description="Pictures are turned by a random angle up to this many degrees either way; 0 switches it off.",
    )
    cutout: int = setting(
        0,
        title="Cutout",
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
            message = f"a square of {self.cutout} px would blank a whole picture of {self.image_size} px; give less"
            raise _field_error("DataSpec", "cutout", message, self.cutout)
        return self

    @classmethod
    def as_it_was_meant(cls, value: Mapping[str, Any], entry: Any) -> Mapping[str, Any]:
        """With what a setting that came later was before, where an earlier version wrote the experiment out.

        That is told by the settings of all data sets being there, as in no experiment that a person writes.
        """
        return {**entry.earlier, **value} if value.keys() >= WRITTEN_OUT else value

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
    """How the student is taught, with the method's own parameters."""

    registry = METHODS

    name: str = setting("kd", title="Method", description="How the student is taught.")


class RecipeSpec(Settings):
    """How long and how fast is trained: a named recipe of the field, any of its numbers changed at will."""

    name: str = setting("quick", title="Recipe", description="A named recipe fills the numbers below.")
    epochs: int = setting(..., title="Epochs", ge=1, le=2000, description="Passes over the training pictures.")
    batch_size: int = setting(..., title="Batch", ge=2, le=8192, description="Pictures in one step of the optimiser.")
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
        0.0, title="Mixup", ge=0, le=10, tune=(0.1, 1.0), advanced=True, source="Zhang et al., 2018; off by default",
        description="Alpha of mixup: pictures and labels are blended in pairs; 0 switches it off.",
    )  # fmt: skip
    cutmix: float = setting(
        0.0, title="CutMix", ge=0, le=10, tune=(0.1, 1.0), advanced=True, source="Yun et al., 2019; off by default",
        description="Alpha of CutMix: a box of one picture is pasted into another; with mixup, either by chance.",
    )  # fmt: skip
    accumulate: int = setting(
        1, title="Accumulate", unit="parts", ge=1, le=64, advanced=True, source="our choice: the batch at once",
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
            message = f"there is no recipe {name!r}; {_near(str(name), list(RECIPES))}"
            raise _field_error("RecipeSpec", "name", message, name)
        return RECIPES[name].settings | dict(value) | {"name": name}

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if self.warmup_epochs > self.epochs:
            message = f"the warm-up ({self.warmup_epochs:g} epochs) is longer than the run ({self.epochs} epochs)"
            raise _field_error("RecipeSpec", "warmup_epochs", message, self.warmup_epochs)
        if list(self.milestones) != sorted(set(self.milestones)) or any(epoch < 1 for epoch in self.milestones):
            raise PydanticCustomError("schedule", "milestones must rise, from 1 on", {})
        return self

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.batch_size % self.accumulate:
            below = self.part_size * self.accumulate
            fitting = " or ".join(str(size) for size in (below, below + self.accumulate) if size)
            message = f"a batch of {self.batch_size} images cannot be computed in {self.accumulate} equal parts"
            raise _field_error(
                "RecipeSpec", "accumulate", f"{message}; set recipe.batch_size to {fitting}", self.accumulate
            )
        if self.part_size < 2:
            message = f"a batch of {self.batch_size} in {self.accumulate} parts leaves one image in each, of which "
            message += f"batch norm can take no statistics; set at most {self.batch_size // 2}"
            raise _field_error("RecipeSpec", "accumulate", message, self.accumulate)
        return self


class RuntimeSpec(Settings):
    """Where and how it computes; only ``precision`` is part of what decides the result."""

    device: str = setting(
        "auto",
        title="Device",
        advanced=True,
        description="auto, cpu, cuda or cuda:<n>; auto takes a GPU when there is one.",
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16", "bf16_teacher"] = setting(
        "auto",
        title="Precision",
        advanced=True,
        description="auto: bf16 on GPUs that have it, fp16 on older ones, fp32 on a CPU. tf32: fp32 with products by "
        "tensor cores, on GPUs from Ampere on. bf16_teacher: the teacher alone, on a CPU with AMX twice as fast.",
    )
    threads: int | None = setting(
        None,
        title="CPU threads",
        ge=1,
        le=512,
        advanced=True,
        description="Threads of one run; empty: OMP_NUM_THREADS, else all cores.",
    )
    workers: int | None = setting(
        None,
        title="Reading processes",
        ge=0,
        le=64,
        advanced=True,
        description="Read ahead what is too large to stay on the device; empty: none on a CPU, up to 4 on a GPU.",
    )
    channels_last: bool = setting(
        True, title="Channels last", advanced=True, description="Memory layout; faster on CPU and GPU alike."
    )
    compile: bool = setting(
        False,
        title="Compile",
        advanced=True,
        description="torch.compile: repaid in long runs only, a minute at the start.",
    )
    cuda_graph: bool = setting(
        False,
        title="CUDA graph",
        advanced=True,
        description="Record the whole step once and replay it: saves the launches of small batches. Not yet tried on a "
        "real GPU, so off; without a GPU, and for methods that cannot be recorded, it does nothing.",
    )
    replay: Literal["auto", "on", "off"] = setting(
        "auto",
        title="Teacher replay",
        advanced=True,
        description="Store what the teacher answers to each view and read it when the view comes again. auto: where "
        "there are finitely many views, and on a GPU only where all their answers are stored already; on: also for "
        "views that come again in other runs of the same seed alone.",
    )
    deterministic: bool = setting(
        False, title="Deterministic", advanced=True, description="Bit-exact resume on a GPU too, at some speed."
    )
    log_every: int = setting(
        10, title="Log every", unit="steps", ge=1, advanced=True, description="Steps between log points."
    )
    inspect: int = setting(
        6,
        title="Look inside",
        unit="times",
        ge=0,
        le=1000,
        advanced=True,
        description="How often, spread over the run, attention, graphs and the like are stored for the Inspect page; "
        "0 = never. It takes about a second each time on a CPU and changes nothing of what is learnt.",
    )
    keep_epochs: tuple[int, ...] = setting(
        (), title="Keep epochs", advanced=True, description="Epochs whose weights are kept beside last and best."
    )

    @field_validator("device")
    @classmethod
    def _check_device(cls, value: str) -> str:
        kind, _, index = value.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
            raise PydanticCustomError(
                "device", "found {value}, expected auto, cpu, cuda or cuda:<n>", {"value": repr(value)}
            )
        return value


class TeacherSpec(Settings):
    """The teacher: a finished run, a run of its own that is trained first, or a net that was imported.

    Written ``run: ID``, ``spec: {...}`` or ``import: NAME``. An import's ``digest`` pins its weights: filled in when a
    run is made (`kdengine.teachers.records.pinned`), and then part of the fingerprint in place of the name.
    """

    model_config = ConfigDict(populate_by_name=True)

    run: str | None = setting(None, title="Teacher run", description="Id of a finished run whose network teaches.")
    spec: ExperimentSpec | None = setting(
        None, title="Teacher spec", description="The run that trains the teacher first."
    )
    imported: str | None = setting(
        None, alias="import", title="Imported teacher", description="Name of a net that `kd import` brought in."
    )
    digest: str | None = setting(
        None, title="Digest", pattern="^[0-9a-f]{16}$", description="Of the import's weights; empty: as they are now."
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if sum(kind is not None for kind in (self.run, self.spec, self.imported)) != 1:
            raise PydanticCustomError("teacher", "give one of run: ID, import: NAME and spec: {...}", {})
        if self.digest is not None and self.imported is None:
            raise PydanticCustomError("teacher", "a digest belongs to import: NAME alone", {})
        if self.spec is not None and self.spec.teacher is not None and self.spec.teacher.spec is not None:
            raise PydanticCustomError(
                "teacher", "a teacher to be trained may itself only be taught by a finished run or an import", {}
            )
        return self

    @model_serializer(mode="plain")
    def _write_what_is_set(self) -> dict[str, Any]:
        if self.imported is not None:
            return {"import": self.imported} | ({"digest": self.digest} if self.digest else {})
        return {"run": self.run} if self.run is not None else {"spec": self.spec.model_dump() if self.spec else None}

    def word(self) -> str:
        """What stands after ``--teacher``: run:ID, import:NAME@DIGEST, or the model to be trained first."""
        if self.imported is not None:
            return f"import:{self.imported}" + (f"@{self.digest}" if self.digest else "")
        return f"run:{self.run}" if self.run else self.label()

    def label(self) -> str:
        """The run's id, the import's name, or the model's."""
        return self.run or self.imported or self.spec.student.name  # type: ignore[union-attr]


class ExperimentSpec(Settings):
    """A run, described completely.

    ``ExperimentSpec(data="digits", teacher="resnet8x4", student="mobilenetv3_small", method="dkd")``: a name stands for
    ``{name: ...}``; a teacher's name for a run of its own on the same data under the same recipe; ``run:ID`` for a
    finished run; ``import:NAME`` for a net of one's own. Raises BadInput through `from_mapping`, pydantic's
    ValidationError when built directly.
    """

    title: str = setting(
        "", title="Name", advanced=True, description="A name of your own for the run; not part of its identity.",
        max_length=MAX_TITLE, pattern=r"^[^\x00-\x1f\x7f]*$",
    )  # fmt: skip
    data: DataSpec
    teacher: TeacherSpec | None = None
    student: ModelSpec
    method: MethodSpec
    recipe: RecipeSpec
    runtime: RuntimeSpec
    seed: int = setting(
        0,
        title="Seed",
        ge=0,
        lt=2**31,
        description="Decides initial weights, order and augmentation; the split has its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _expand_short_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        value = {"data": {}, "student": {}, "method": {}, "recipe": {}, "runtime": {}} | dict(value)
        value["recipe"] = _recipe_for(value["recipe"], value["student"])
        if isinstance(value.get("teacher"), str):
            value["teacher"] = _teacher_from_text(value["teacher"], value)
        return value

    @model_validator(mode="after")
    def _check_teacher(self) -> Self:
        method = METHODS.get(self.method.name)
        needs = method.requires(self.method.params).teacher
        if needs and self.teacher is None:
            raise PydanticCustomError(
                "teacher",
                "the method {method} needs a teacher: name a model, run:ID of a finished run, or import:NAME",
                {"method": self.method.name},
            )
        if self.teacher is not None and not needs:
            raise PydanticCustomError(
                "teacher",
                "the method {method} uses no teacher; leave it out or choose another method",
                {"method": self.method.name},
            )
        return self

    @model_validator(mode="after")
    def _check_mixing(self) -> Self:
        mixed = [name for name in ("mixup", "cutmix") if getattr(self.recipe, name)]
        if mixed and not METHODS.get(self.method.name).mixes:
            able = ", ".join(name for name in METHODS.names() if METHODS.get(name).mixes)
            message = f"{self.method.name} wants one class a picture, mixed pictures have two; set 0, or use {able}"
            raise _field_errors("ExperimentSpec", {f"recipe.{name}": message for name in mixed}, {})
        return self

    @model_validator(mode="after")
    def _check_accumulation(self) -> Self:
        if self.recipe.accumulate == 1:
            return self
        needs = METHODS.get(self.method.name).requires(self.method.params)
        message = ""
        if needs.batch_relations:
            able = ", ".join(name for name in METHODS.names() if _computes_in_parts(name))
            message = f"{self.method.name} {needs.batch_relations}: parts of a batch do not add up to the whole of it; "
            message += f"set 1, with a smaller batch if memory is short, or use {able}"
        elif needs.sampler == "same-class-pairs" and self.recipe.part_size % 2:
            message = f"{self.method.name} takes images in pairs, and a part of {self.recipe.part_size} would part one"
            message += "; choose batch and parts so that a part is even"
        if message:
            raise _field_errors("ExperimentSpec", {"recipe.accumulate": message}, {})
        return self

    # to and from text ------------------------------------------------------------------------------------------------

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ExperimentSpec:
        """Validates a nested mapping; raises BadInput with every problem, each with its dotted field."""
        try:
            return cls.model_validate(mapping)
        except ValidationError as error:
            raise BadInput(list(_problems(error))) from error

    @classmethod
    def from_yaml(cls, text: str) -> ExperimentSpec:
        """Reads what `to_yaml` wrote, or any YAML of the same shape; raises BadInput.

        A longer name than is given today, from an earlier version, is cut.
        """
        mapping = read_yaml(text)
        if not isinstance(mapping, Mapping):
            raise BadInput(f"expected a mapping with data, student, method..., found {type(mapping).__name__}")
        mapping = {key: value for key, value in mapping.items() if key != "version"}
        if isinstance(mapping.get("title"), str):
            mapping["title"] = " ".join(mapping["title"].split())[:MAX_TITLE]
        return cls.from_mapping(mapping)

    def to_yaml(self) -> str:
        """The whole spec, every default written out."""
        return yaml.safe_dump({"version": SPEC_VERSION} | self.model_dump(mode="json"), sort_keys=False)

    def flat(self) -> dict[str, Any]:
        """Every setting by its dotted path, e.g. ``method.temperature``: 4.0."""
        return dict(flatten(self.model_dump(mode="json")))

    def fingerprint(self) -> str:
        """16 hex digits over everything that decides the result; title and where it runs are left out."""
        content = self.model_dump(mode="json")
        _drop_what_does_not_decide(content)
        text = json.dumps({"version": SPEC_VERSION} | content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def command(self) -> str:
        """A shell command that makes an equal spec: names as options, every other change as ``--set``."""
        words = ["kd", "train", "--dataset", self.data.name]
        short: dict[str, Any] = {"data": self.data.name, "student": self.student.name, "method": self.method.name}
        if self.teacher is not None:
            short["teacher"] = self.teacher.word()
            words += ["--teacher", short["teacher"]]
        words += ["--student", self.student.name, "--method", self.method.name]
        if self.recipe.name != "quick":
            words += ["--recipe", self.recipe.name]
        short["recipe"] = self.recipe.name
        words += _differences(self, short)
        return shlex.join(words)

    def label(self) -> str:
        """One line for tables: method, student, and teacher if any."""
        if self.teacher is None:
            return f"{self.method.name} · {self.student.name}"
        return f"{self.method.name} · {self.teacher_label()} → {self.student.name}"

    def teacher_label(self) -> str:
        """The teacher's run id, import or model name; "" without a teacher."""
        return self.teacher.label() if self.teacher is not None else ""


def nested(assignments: Iterable[str], field: str = "--set") -> dict[str, Any]:
    """Turns ``["method.temperature=2", ...]`` into a nested mapping; values are read as YAML.

    Raises BadInput, its problems under ``field``.
    """
    tree: dict[str, Any] = {}
    problems = []
    for text in assignments:
        path, equals, value = text.partition("=")
        if not equals or not all(path.split(".")):
            problems.append(Problem(field, f"found {text!r}, expected path=value, e.g. method.temperature=2"))
            continue
        node = tree
        *parents, leaf = path.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                break
        if not isinstance(node, dict) or isinstance(node.get(leaf), dict):
            problems.append(
                Problem(field, f"found {text!r} beside another value for a part or the whole of {path}; give one")
            )
            continue
        try:
            node[leaf] = _read_value(value)
        except BadInput:
            shown = f"{value[:60]}…" if len(value) > 60 else value
            problems.append(Problem(path, f"cannot read the value {shown!r}; put text with special signs in quotes"))
    if problems:
        raise BadInput(problems)
    return tree


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` laid over it, level by level; a name in ``base`` counts as ``{name: ...}``."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, str) and key != "teacher":
            below = {"name": below}
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


def with_absolute_paths(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's mapping, and its teacher's, with the path of one's own images as it is seen from any folder."""
    found = dict(mapping)
    data, teacher = found.get("data"), found.get("teacher")
    if isinstance(data, Mapping) and isinstance(data.get("path"), str) and data["path"]:
        path = Path(data["path"])
        found["data"] = {**data, "path": str(path if data["path"].startswith("~") else Path.cwd() / path)}
    if isinstance(teacher, Mapping) and isinstance(teacher.get("spec"), Mapping):
        found["teacher"] = {**teacher, "spec": with_absolute_paths(teacher["spec"])}
    return found


def with_settings(mapping: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """An experiment's mapping with ``path=value`` words laid over it; a teacher given by name is spelled out.

    Raises:
        BadInput: a word that is not ``path=value``, or a mapping that is no experiment where it must be spelled out.
    """
    changes = nested(assignments)
    inner = changes.get("teacher")
    if not isinstance(inner, Mapping) or not isinstance(mapping.get("teacher"), str):
        return merge(mapping, changes)
    outer = {key: value for key, value in changes.items() if key != "teacher"}
    spelled = ExperimentSpec.from_mapping(merge(mapping, outer)).model_dump(mode="json")
    return merge(spelled, {"teacher": inner})


def _read_value(text: str) -> Any:
    value = read_yaml(text, "--set")
    if isinstance(value, str) and value == text.strip():
        # YAML 1.1 reads 1e-3 as a word; what stands in quotes is meant as one.
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _recipe_for(recipe: Any, student: Any) -> Any:
    if isinstance(recipe, str):
        recipe = {"name": recipe}
    if not isinstance(recipe, Mapping):
        return recipe
    named = recipe.get("name", "quick")
    if not isinstance(named, str) or named not in RECIPES:
        return recipe
    name = student if isinstance(student, str) else student.get("name", "") if isinstance(student, Mapping) else ""
    return RECIPES[named].for_student(str(name)) | dict(recipe)


def _teacher_from_text(text: str, experiment: Mapping[str, Any]) -> Any:
    if text in ("", "none"):
        return None
    if text.startswith("run:"):
        return {"run": text.removeprefix("run:")}
    if text.startswith("import:"):
        name, _, digest = text.removeprefix("import:").partition("@")
        return {"import": name} | ({"digest": digest} if digest else {})
    recipe = experiment["recipe"]
    teacher = {
        "data": experiment["data"],
        "student": {"name": text},
        "method": {"name": "none"},
        # The same numbers, but for those that a recipe sets by the kind of network.
        "recipe": {key: value for key, value in recipe.items() if key != "lr"}
        if isinstance(recipe, Mapping)
        else recipe,
        "runtime": experiment["runtime"],
        "seed": 0,
    }
    return {"spec": teacher}


def _differences(spec: ExperimentSpec, short: dict[str, Any]) -> list[str]:
    wanted = spec.flat()
    parts = {"data": spec.data, "student": spec.student, "method": spec.method}
    # What must be given, and what decides whether the method has a teacher: without it no spec can be read at all.
    first = [
        f"{part}.{name}"
        for part, component in parts.items()
        for name, info in type(component.params).model_fields.items()
        if info.is_required() or (part == "method" and getattr(component.params, name) != info.get_default())
    ]
    changes = {path: _write_value(wanted[path]) for path in first}
    # A change can move a default that is derived from it (a teacher's data follow the student's): teachers come last.
    for teachers in (False, True):
        current = ExperimentSpec.from_mapping(with_settings(short, _as_words(changes))).flat()
        for path, value in wanted.items():
            if current.get(path) != value and path.startswith("teacher.") == teachers:
                changes[path] = _write_value(value)
    order = list(wanted)
    changes = dict(sorted(changes.items(), key=lambda item: (item[0].startswith("teacher."), order.index(item[0]))))
    return [word for change in _as_words(changes) for word in ("--set", change)]


def _as_words(changes: Mapping[str, str]) -> list[str]:
    return [f"{path}={value}" for path, value in changes.items()]


def _write_value(value: Any) -> str:
    if isinstance(value, str) and _reads_as_itself(value):
        return value
    return json.dumps(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return bool(_read_value(text) == text)
    except BadInput:
        return False


def _computes_in_parts(method: str) -> bool:
    """Whether a method, with its own defaults, allows a batch to be computed in parts."""
    entry = METHODS.get(method)
    return not entry.requires(entry.Params()).batch_relations


def _drop_what_does_not_decide(content: dict[str, Any]) -> None:
    content.pop("title", None)
    content["runtime"] = {"precision": content["runtime"]["precision"]}
    # Came later: a run without them is the run that it was before there were any.
    for part, names in (("recipe", ("mixup", "cutmix")), ("data", ("resized_crop", "rotation", "cutout"))):
        for name in names:
            if not content[part][name]:
                del content[part][name]
    if content["recipe"]["accumulate"] == 1:
        del content["recipe"]["accumulate"]
    for name, before in (("layout", "auto"), ("split", "position")) if content["data"]["name"] == "folder" else ():
        if content["data"][name] == before:
            del content["data"][name]
    teacher = content.get("teacher") or {}
    if teacher.get("spec"):
        _drop_what_does_not_decide(teacher["spec"])
    if teacher.get("digest"):
        del teacher["import"]  # the weights decide, under whatever name


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=2, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are: {', '.join(known) or 'none'}"


def _field_error(model: str, field: str, message: str, found: Any) -> ValidationError:
    return _field_errors(model, {field: message}, {field: found})


def _field_errors(model: str, messages: Mapping[str, str], found: Mapping[str, Any]) -> ValidationError:
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("spec", "{text}", {"text": text}), loc=(field,), input=found.get(field)
        )
        for field, text in messages.items()
    ]
    return ValidationError.from_exception_data(model, errors)


def _problems(error: ValidationError) -> Iterator[Problem]:
    for item in error.errors():
        field = ".".join(str(part) for part in item["loc"] if part != "params")
        if item["type"] == "extra_forbidden":
            yield Problem(field, f"there is no such setting; {_near(str(item['loc'][-1]), _known_at(item['loc']))}")
        elif item["type"] in ("spec", "schedule", "device", "teacher"):
            yield Problem(field or item["type"], item["msg"])
        else:
            yield Problem(field, f"{item['msg'][0].lower()}{item['msg'][1:]}; found {item['input']!r}")


def _known_at(location: tuple[int | str, ...]) -> list[str]:
    model: Any = ExperimentSpec
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next(
            (option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), ExperimentSpec
        )
    return [info.alias or name for name, info in model.model_fields.items()]
